# SPDX-License-Identifier: BSD-2-Clause
# gnuplot -c chart.gp BASE TITLE X-AXIS Y-AXIS LOW HIGH COLOURS   draws BASE.svg and BASE.png from
# BASE.tsv: what grows in the first column, then three columns for each subject: its line, and the
# lower and the upper edge of its band.  The y axis goes from LOW to HIGH.  COLOURS are words like
# #0055aa, one for each subject; BASE.labels sets their names at the right, the x axis, and
# the marks of both.
base = ARG1
colours = ARG7
n = words(colours)
set datafile separator "\t"
set datafile missing "-"
set title ARG2
set xlabel ARG3
set ylabel ARG4
set logscale xy
set yrange [ARG5 + 0:ARG6 + 0]
set grid ytics lc rgb "#dddddd"
set tics nomirror
set border 3
set rmargin at screen 0.73
set pointsize 0.6
set key off
load base.".labels"

do for [terminal in "svg png"] {
    if (terminal eq "svg") {
        set terminal svg size 860,440 font "sans,12" background "white"
    } else {
        set terminal pngcairo size 860,440 font "sans,10"
    }
    set output base.".".terminal
    plot for [i=1:n] base.".tsv" using 1:(column(3*i)):(column(3*i+1)) with filledcurves \
             fs transparent solid 0.1 noborder lc rgb word(colours, i), \
         for [i=n:1:-1] base.".tsv" using 1:(column(3*i-1)) with linespoints \
             lw (i == 1 ? 3 : 1.5) pt 7 lc rgb word(colours, i)
}
