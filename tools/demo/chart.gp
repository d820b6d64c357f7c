# SPDX-License-Identifier: BSD-2-Clause
# chart.gp - a demo's results as bars:
#     gnuplot -c chart.gp BASE MODES QUERIES
# makes BASE.svg and BASE.png of BASE.tsv, the medians, and BASE-rounds.tsv, which has a line for each
# round.  One row of charts for each scene, one bar for each of the MODES, the one that does not coalesce
# first, ours last; QUERIES says what the first chart counts.

base = ARG1
modes = ARG2
queries = ARG3
n_modes = words(modes)
scenes = "trace stampede"
columns = "4 5 7" # of the tables: queries, requests/s, p99
formats = "%.4g %.0f %.1f"
labels = "'".queries.": lower is better' 'requests per second: higher is better' 'p99 latency in ms: lower is better'"

# Each subject has the colour that it has in the charts of bench/.
called(m) = m eq "singleflight" ? "libsingleflight" : m
meaning(m) = m eq "none" ? "none: each asks for itself" : m eq "mutex" ? "; mutex: Go's singleflight in C, 64 mutexes" : ""
color(m) = m eq "none" ? 0x999999 : m eq "mutex" ? 0xcc4400 : 0x0055aa
meanings = ""
do for [i = 1:n_modes] { meanings = meanings.meaning(word(modes, i)) }
place(m) = sum [i = 1:n_modes] (word(modes, i) eq m ? i - 1 : 0)

set datafile separator tab

# What it comes to, in a sentence.
array with_us[2]
do for [s = 1:2] {
    stats base.".tsv" using (strcol(1) eq word(scenes, s) && strcol(2) eq word(modes, 1) ? $4 : NaN) \
        every ::1 nooutput
    without = STATS_max
    stats base.".tsv" using (strcol(1) eq word(scenes, s) && strcol(2) eq word(modes, n_modes) ? $4 : NaN) \
        every ::1 nooutput
    with_us[s] = STATS_max / without
}
said(s) = with_us[s] > 0.5 ? sprintf("%.0f %% fewer %s", 100 - 100 * with_us[s], queries) \
                           : sprintf("1/%.0f of the %s", 1 / with_us[s], queries)
stats base."-rounds.tsv" using 3 every ::1 nooutput
rounds = STATS_records / (2 * n_modes)

set style fill solid 1.0 noborder
set boxwidth 0.7
set xrange [-0.6:n_modes - 0.4]
set yrange [0:*]
set xtics nomirror scale 0
set xtics (called(word(modes, 1)) 0)
do for [i = 2:n_modes] { set xtics add (called(word(modes, i)) i - 1) }
set ytics nomirror
set border 3
set grid y linetype 1 linecolor rgb "#dddddd"
set offsets 0, 0, graph 0.12, 0
unset key

do for [format in "svg png"] {
    if (format eq "svg") {
        set terminal svg size 1180,680 noenhanced font "sans,12" background rgb "white"
    } else {
        set terminal pngcairo size 1180,680 noenhanced font "sans,10"
    }
    set output base.".".format
    set multiplot layout 2,3 title "With libsingleflight ".said(1)." for the trace, and ".said(2)." in the stampede" \
        .sprintf("\n64 connections; bars: medians of %d round%s; dots: the rounds; ", rounds, rounds == 1 ? "" : "s") \
        .meanings
    do for [s = 1:2] {
        do for [c = 1:3] {
            n = int(word(columns, c))
            set title word(scenes, s).": ".word(labels, c)
            plot base.".tsv" using (strcol(1) eq word(scenes, s) ? place(strcol(2)) : NaN):(column(n)) \
                     :(color(strcol(2))) every ::1 with boxes linecolor rgb variable, \
                 base."-rounds.tsv" using (strcol(1) eq word(scenes, s) ? place(strcol(2)) - 0.28 : NaN) \
                     :(column(n)) every ::1 with points pointtype 7 pointsize 0.4 linecolor rgb "black", \
                 base.".tsv" using (strcol(1) eq word(scenes, s) ? place(strcol(2)) : NaN):(column(n)) \
                     :(sprintf(word(formats, c), column(n))) every ::1 with labels offset 0.6,0.7
        }
    }
    unset multiplot
    set output
}
