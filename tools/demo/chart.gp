# SPDX-License-Identifier: BSD-2-Clause
# chart.gp - a demo's results as bars:
#     gnuplot -c chart.gp RESULTS.tsv CHART TITLE MODES QUERIES
# makes CHART.svg and CHART.png.  One row of charts for each scene, one bar for
# each of the MODES; QUERIES says what the first chart counts.

results = ARG1
modes = ARG4
n_modes = words(modes)
scenes = "trace stampede"
columns = "4 5 7" # of the table: queries, requests/s, p99
formats = "%.4g %.0f %.1f"
labels = "'".ARG5."' 'requests per second' 'p99 latency in ms'"

set datafile separator tab
set style fill solid 1.0 noborder
set boxwidth 0.7
set xrange [-0.6:n_modes - 0.4]
set yrange [0:*]
set xtics nomirror scale 0
set xtics (word(modes, 1) 0)
do for [i = 2:n_modes] { set xtics add (word(modes, i) i - 1) }
set ytics nomirror
set border 3
set grid y linetype 1 linecolor rgb "#dddddd"
set offsets 0, 0, graph 0.12, 0
unset key
color(i) = i == 0 ? 0x999999 : i == n_modes - 1 ? 0xd9822b : 0x5b8db8

do for [format in "svg png"] {
    if (format eq "svg") {
        set terminal svg size 1080,640 font "sans,12" background rgb "white"
    } else {
        set terminal pngcairo size 1080,640 font "sans,10"
    }
    set output ARG2.".".format
    set multiplot layout 2,3 title ARG3
    do for [s = 1:2] {
        do for [c = 1:3] {
            n = int(word(columns, c))
            set title word(scenes, s).": ".word(labels, c)
            plot results using (int($0) % n_modes):(strcol(1) eq word(scenes, s) ? column(n) : NaN)\
                     :(color(int($0) % n_modes)) every ::1 with boxes linecolor rgb variable, \
                 '' using (int($0) % n_modes):(strcol(1) eq word(scenes, s) ? column(n) : NaN)\
                     :(sprintf(word(formats, c), column(n)))\
                     every ::1 with labels offset 0,0.7
        }
    }
    unset multiplot
    set output
}
