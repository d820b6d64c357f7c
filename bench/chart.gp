# SPDX-License-Identifier: BSD-2-Clause
# gnuplot -c chart.gp BASE TITLE X-AXIS Y-AXIS COLOURS   draws BASE.svg and BASE.png from BASE.tsv:
# what grows in the first column, then one column for each subject, in the colour that COLOURS, words
# like #0055aa, has for it.
base = ARG1
colours = ARG5
n = words(colours)
set datafile separator "\t"
set datafile missing "-"
set title ARG2
set xlabel ARG3
set ylabel ARG4
set logscale xy
set grid ytics lc rgb "#dddddd"
set key outside right
set pointsize 0.7

do for [terminal in "svg png"] {
    if (terminal eq "svg") {
        set terminal svg size 760,420 font "sans,12" background "white"
    } else {
        set terminal pngcairo size 760,420 font "sans,10"
    }
    set output base.".".terminal
    plot for [i=1:n] base.".tsv" using 1:(column(i+1)) with linespoints \
        lw (i == 1 ? 3 : 1.5) pt 7 lc rgb word(colours, i) title columnheader(i+1)
}
