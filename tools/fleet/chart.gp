# SPDX-License-Identifier: BSD-2-Clause
# chart.gp - the fleet demo on a time axis:
#     gnuplot -c chart.gp FOLDER
# makes FOLDER/fleet.svg and FOLDER/fleet.png of FOLDER/fleet.tsv, none.tsv, process.tsv and faults.tsv.
# Above how many statements PostgreSQL has run, below how long the slowest request took.
folder = ARG1
file(name) = folder."/".name.".tsv"
names = "none process faults"
colours = "#999999 #0055aa #d9822b"
titles = "'no coalescing' 'per process' 'fleet'"
columns = "2 5" # of a file: statements per second, the slowest request in ms
ranges = "1:1000 20:10000"

# ------------------------------------- what is asked of the files before anything is drawn
rows(name) = "grep -v '^#' ".file(name)." | tail -n +2"
fault(i, column) = system(sprintf("sed -n 's/^# fault\t//p' %s | sed -n %dp | cut -f%d | tr - ' '", \
                                  file("faults"), i, column))
n_faults = int(system("grep -c '^# fault' ".file("faults")))
end_s = real(system(rows("none")." | tail -n 1 | cut -f1"))
per_expiry(mode) = real(system(sprintf("sed -n 's/^%s\t//p' %s | cut -f4", mode, file("fleet"))))

# The slowest request between a fault and the next one, in seconds.
slowest_after(i) = system(sprintf("%s | awk -F '\t' -v from=%s -v to=%s '%s'", rows("faults"), fault(i, 1), \
    i < n_faults ? fault(i + 1, 1) : "1e9", \
    "$1 + 0.25 > from && $1 + 0.25 < to && $5 > m { m = $5 } END { printf \"%.1f\", m / 1000 }"))

# The end of a line: the middle one of its last three values.  Of three such heights, those a factor apart.
last(name, column) = real(system(sprintf("%s | tail -n 3 | cut -f%d | sort -g | sed -n 2p", rows(name), column)))
apart(a, b, c) = system(sprintf("printf '%g 1\n%g 2\n%g 3\n'", a, b, c). \
    sprintf(" | sort -g | awk '%s' | sort | cut -d' ' -f2 | paste -sd' '", \
            "NR > 1 && $1 < p * 1.55 { $1 = p * 1.55 } { p = $1; print $2, $1 }"))

title_of_all = sprintf("One page in 8 workers: when it expires PostgreSQL is asked %.0f times, ", per_expiry("none")).\
    sprintf("%.0f per process, %.1f in a fleet\n", per_expiry("process"), per_expiry("fleet"))
title_above = "database statements per second".\
    (n_faults > 1 ? "; without its engine the fleet falls back to one per process" : "")
title_below = "slowest request, ms; a killed leader holds its page up for ".slowest_after(1)." s, once".\
    (n_faults > 1 ? ", a killed engine for ".slowest_after(2)." s" : "")

# ------------------------------------------------------------------------------- the charts
set datafile separator tab
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
    set multiplot layout 2,1 title title_of_all
    do for [panel = 1:2] {
        n = int(word(columns, panel))
        range = word(ranges, panel)
        colon = strstrt(range, ":")
        set yrange [real(range[1:colon - 1]):real(range[colon + 1:*])]
        set title (panel == 1 ? title_above : title_below)
        set xlabel (panel == 1 ? "" : "seconds")
        unset label
        unset arrow
        do for [i = 1:n_faults] {
            at = real(fault(i, 1))
            set arrow i from at, graph 0 to at, graph 1 nohead dt 2 lc rgb "#555555"
            set label 10 + i fault(i, 2) at at, graph 0.95 offset 0.5,0 tc rgb "#555555"
        }
        heights = apart(last(word(names, 1), n), last(word(names, 2), n), last(word(names, 3), n))
        do for [k = 1:3] {
            set label k word(titles, k) at end_s + 0.25, real(word(heights, k)) offset 0.8,0 \
                tc rgb word(colours, k)
        }
        # What is nothing leaves the chart at its lower edge.
        plot for [k = 1:3] file(word(names, k)) using 1:(column(n) > 0.1 ? column(n) : 0.1) every ::1 \
            with linespoints lw (k == 3 ? 2.5 : 1.5) pt 7 ps 0.4 lc rgb word(colours, k)
    }
    unset multiplot
    set output
}
