-- SPDX-License-Identifier: BSD-2-Clause
-- wrk.lua - for the demo: the one page that wrk is told, or with the argument "unique" always another one
-- below it; prints one line: requests, seconds, p50 and p99 in milliseconds, and answers other than 2xx.
local threads = 0

function setup(thread)
    threads = threads + 1
    thread:set("id", threads)
end

function init(args)
    if args[1] == "unique" then
        local n, path = 0, wrk.path .. "/" .. os.time() .. "/" .. id .. "/"
        request = function()
            n = n + 1
            return wrk.format(nil, path .. n)
        end
    end
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format("RESULT %d %.6f %.3f %.3f %d\n", summary.requests, summary.duration / 1e6,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        e.status + e.connect + e.read + e.write + e.timeout))
end
