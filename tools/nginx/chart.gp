# SPDX-License-Identifier: BSD-2-Clause
# chart.gp - the nginx demo's results as bars:
#     gnuplot -c chart.gp BASE
# makes BASE.svg and BASE.png of BASE.tsv, the medians, and BASE-rounds.tsv, which has a line for each
# round.  A row of charts for one worker and one for two, a bar for each way.

results = ARG1.".tsv"
rounds = ARG1."-rounds.tsv"
modes = "proxy_pass proxy_cache_lock singleflight"
scenes = "stampede hot unique"
columns = "4 5 4" # of the table
formats = "%.0f %.0f %.0f"
labels = "'200 clients at once: ms to the last byte' 'hot page, cached for 1 s: p99 in ms' 'nothing to share: requests per second'"
better = "lower lower higher"

set datafile separator tab
set style fill solid 1.0 noborder
set boxwidth 0.7
set xrange [-0.6:2.6]
set yrange [0:*]
set xtics nomirror scale 0
set xtics ("proxy_pass" 0, "proxy_cache_lock" 1, "singleflight" 2)
set ytics nomirror
set border 3
set grid y linetype 1 linecolor rgb "#dddddd"
set offsets 0, 0, graph 0.12, 0
unset key
place(mode) = mode eq "proxy_pass" ? 0 : mode eq "proxy_cache_lock" ? 1 : 2
color(i) = i == 0 ? 0x999999 : i == 1 ? 0x885522 : 0x0055aa
stats rounds using 2 nooutput
n_rounds = STATS_records / 18

do for [format in "svg png"] {
    if (format eq "svg") {
        set terminal svg size 1380,640 noenhanced font "sans,12" background rgb "white"
    } else {
        set terminal pngcairo size 1380,640 noenhanced font "sans,10"
    }
    set output ARG1.".".format
    set multiplot layout 2,3 title "nginx before an upstream that takes 100 ms: with singleflight all have the page as soon as the first one has it" \
        .sprintf("\nbars: medians of %d rounds; dots: the rounds", n_rounds)
    do for [workers = 1:2] {
        do for [c = 1:3] {
            n = int(word(columns, c))
            set title word(labels, c)
            set ylabel sprintf("%s is better", word(better, c))
            set xlabel sprintf("%d worker%s", workers, workers == 1 ? "" : "s")
            shown(s, w, mode) = s eq word(scenes, c) && w == workers ? place(mode) : NaN
            plot results using (shown(strcol(1), $2, strcol(3))):(column(n)):(color(place(strcol(3)))) \
                     with boxes linecolor rgb variable, \
                 rounds using (shown(strcol(1), $2, strcol(3)) - 0.28):(column(n)) \
                     with points pointtype 7 pointsize 0.4 linecolor rgb "black", \
                 results using (shown(strcol(1), $2, strcol(3))):(column(n)) \
                     :(sprintf(word(formats, c), column(n))) with labels offset 0.6,0.7
        }
    }
    unset multiplot
    set output
}
