# SPDX-License-Identifier: BSD-2-Clause
# chart.gp - the fleet demo on a time axis:
#     gnuplot -c chart.gp FOLDER
# makes FOLDER/fleet.svg and FOLDER/fleet.png of FOLDER/none.tsv, process.tsv and faults.tsv.  Above
# how many statements PostgreSQL has run, below how long the slowest request took.
folder = ARG1
file(name) = folder."/".name.".tsv"
names = "none process faults"
colours = "#999999 #0055aa #d9822b"
titles = "'no coalescing' 'per process' 'fleet'"

# What is asked of the files before anything is drawn: the ends of the lines, and the faults.
faults = system("sed -n 's/^# fault\t//p' ".file("faults")." | tr '\t\n' ' ;'")
n_faults = int(system("grep -c '^# fault' ".file("faults")))
fault_at(i) = real(system(sprintf("sed -n 's/^# fault\t//p' %s | sed -n '%dp' | cut -f1", file("faults"), i)))
fault_name(i) = system(sprintf("sed -n 's/^# fault\t//p' %s | sed -n '%dp' | cut -f2 | tr '-' ' '", file("faults"), i))
last(name, column) = real(system(sprintf("grep -v '^#' %s | tail -n 3 | cut -f%d | sort -g | sed -n 2p", file(name), column)))
end_s = real(system(sprintf("grep -v '^#' %s | tail -n 1 | cut -f1", file("none"))))
per_expiry(mode) = system(sprintf("sed -n 's/^%s\t//p' %s/fleet.tsv | cut -f4", mode, folder))

set datafile separator tab
set datafile commentschars "#"
set xrange [0:end_s + 0.25]
set tics nomirror
set border 3
set grid ytics lc rgb "#dddddd"
set key off
set lmargin at screen 0.085
set rmargin at screen 0.86
set logscale y

do for [format in "svg png"] {
    if (format eq "svg") {
        set terminal svg size 1000,640 font "sans,12" background rgb "white"
    } else {
        set terminal pngcairo size 1000,640 font "sans,10"
    }
    set output folder."/fleet.".format
    set multiplot layout 2,1 title sprintf("One page in 8 workers: when it expires PostgreSQL is asked %.0f times, %.0f per process, %.1f in a fleet", real(per_expiry("none")), real(per_expiry("process")), real(per_expiry("fleet")))
    do for [panel = 1:2] {
        column = panel == 1 ? 2 : 5
        set title (panel == 1 ? "database statements per second: the fleet takes both faults, and falls back to one per process" : "slowest request, ms: a killed leader holds the page for its lease (1 s), a killed engine for its timeout at most")
        set xlabel (panel == 1 ? "" : "seconds")
        set yrange [(panel == 1 ? 1 : 0.5):(panel == 1 ? 1000 : 3000)]
        unset label
        unset arrow
        do for [i = 1:n_faults] {
            set arrow i from fault_at(i), graph 0 to fault_at(i), graph 1 nohead dt 2 lc rgb "#555555"
            set label 10 + i fault_name(i) at fault_at(i), graph 0.95 offset 0.5,0 tc rgb "#555555"
        }
        do for [k = 1:3] {
            set label k word(titles, k) at end_s + 0.25, last(word(names, k), column) offset 0.8,0 tc rgb word(colours, k)
        }
        plot for [k = 1:3] file(word(names, k)) using 1:(column(column) > 0.1 ? column(column) : 0.1) every ::1 \
            with linespoints lw (k == 3 ? 2.5 : 1.5) pt 7 ps 0.4 lc rgb word(colours, k)
    }
    unset multiplot
    set output
}
