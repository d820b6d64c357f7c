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

# What is asked of the files before anything is drawn.
n_faults = int(system("grep -c '^# fault' ".file("faults")))
fault_at(i) = real(system(sprintf("sed -n 's/^# fault\t//p' %s | sed -n '%dp' | cut -f1", file("faults"), i)))
fault_name(i) = system(sprintf("sed -n 's/^# fault\t//p' %s | sed -n '%dp' | cut -f2 | tr '-' ' '", file("faults"), i))
last(name, column) = real(system(sprintf("grep -v '^#' %s | tail -n 3 | cut -f%d | sort -g | sed -n 2p", file(name), column)))
# Heights for the names of the lines, a factor apart at least.
apart(a, b, c) = system(sprintf("printf '%g 1\n%g 2\n%g 3\n' | sort -g | awk '{ if (NR > 1 && $1 < p * 1.55) $1 = p * 1.55; p = $1; print $2, $1 }' | sort | cut -d' ' -f2 | tr '\n' ' '", a, b, c))
# The slowest request between a fault and the next one, in seconds.
slowest_after(i) = system(sprintf("awk -F '\t' -v from=%g -v to=%g '!/^#/ && $1 + 0.25 > from && $1 + 0.25 < to && $5 > m { m = $5 } END { printf \"%%.1f\", m / 1000 }' %s", fault_at(i), i < n_faults ? fault_at(i + 1) : end_s + 1, file("faults")))
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
    set multiplot layout 2,1 title sprintf("One page in 8 workers: when it expires PostgreSQL is asked %.0f times, %.0f per process, %.1f in a fleet", real(per_expiry("none")), real(per_expiry("process")), real(per_expiry("fleet")))."\n"
    do for [panel = 1:2] {
        column = panel == 1 ? 2 : 5
        set title (panel == 1 ? "database statements per second; without its engine the fleet falls back to one per process" : "slowest request, ms; ".(n_faults > 1 ? sprintf("a killed leader holds its page up for %s s, a killed engine for %s s, once", slowest_after(1), slowest_after(2)) : sprintf("a killed leader holds its page up for %s s, once", slowest_after(1))))
        set xlabel (panel == 1 ? "" : "seconds")
        set yrange [(panel == 1 ? 1 : 20):(panel == 1 ? 1000 : 10000)]
        unset label
        unset arrow
        do for [i = 1:n_faults] {
            set arrow i from fault_at(i), graph 0 to fault_at(i), graph 1 nohead dt 2 lc rgb "#555555"
            set label 10 + i fault_name(i) at fault_at(i), graph 0.95 offset 0.5,0 tc rgb "#555555"
        }
        heights = apart(last(word(names, 1), column), last(word(names, 2), column), last(word(names, 3), column))
        do for [k = 1:3] {
            set label k word(titles, k) at end_s + 0.25, real(word(heights, k)) offset 0.8,0 tc rgb word(colours, k)
        }
        plot for [k = 1:3] file(word(names, k)) using 1:(column(column) > 0.1 ? column(column) : 0.1) every ::1 \
            with linespoints lw (k == 3 ? 2.5 : 1.5) pt 7 ps 0.4 lc rgb word(colours, k)
    }
    unset multiplot
    set output
}
