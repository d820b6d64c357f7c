-- SPDX-License-Identifier: BSD-2-Clause
-- wrk.lua TRACE N_HOTTEST    asks for product pages in the trace's order, again from the start where
-- it ends; if N_HOTTEST is not 0, only for its so many hottest products.  In the end prints
--     requests  µs  p50 in µs  p99 in µs  requests that failed
-- For one thread of wrk: each would begin at the start.

local messages, n = {}, 0

local function read_trace(name)
   local file = assert(io.open(name, "rb"))
   local bytes = file:read("*a")
   file:close()
   local products = {}
   for i = 1, #bytes - 3, 4 do
      local a, b, c, d = bytes:byte(i, i + 3)
      products[#products + 1] = ((a * 256 + b) * 256 + c) * 256 + d
   end
   return products
end

local function hottest(products, n_hottest)
   local count, order, wanted = {}, {}, {}
   for _, p in ipairs(products) do
      if not count[p] then
         order[#order + 1] = p
      end
      count[p] = (count[p] or 0) + 1
   end
   table.sort(order, function(p, q)
      return count[p] > count[q] or count[p] == count[q] and p < q
   end)
   for i = 1, n_hottest do
      wanted[order[i]] = true
   end
   return wanted
end

function init(args)
   local products = read_trace(args[1])
   local n_hottest = tonumber(args[2])
   local wanted = hottest(products, n_hottest)
   local made = {}
   for _, p in ipairs(products) do
      if n_hottest == 0 or wanted[p] then
         made[p] = made[p] or wrk.format("GET", "/product/" .. p)
         messages[#messages + 1] = made[p]
      end
   end
end

function request()
   n = n % #messages + 1
   return messages[n]
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format("figures %d %d %d %d %d\n", summary.requests, summary.duration,
      latency:percentile(50), latency:percentile(99),
      e.connect + e.read + e.write + e.status + e.timeout))
end
