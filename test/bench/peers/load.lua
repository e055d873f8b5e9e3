-- Closed loop for wrk: SECONDS of requests, then every connection waits for its last answer, so that the server's CPU time and
-- the answers counted belong to the same requests. wrk ... -s load.lua URL -- SECONDS CONNECTIONS BODY_FILE [NAME VALUE]...
-- Prints "drained" when all have their answer (the caller then ends wrk with SIGINT), and one line of JSON at the end.
local ffi = require("ffi")
ffi.cdef([[ typedef struct { long sec; long nsec; } marline_time; int clock_gettime(int clock, marline_time *time); ]])
local FOREVER_MS = 3600000
local thread

function setup(created) thread = created end

function init(args)
  seconds, connections = tonumber(args[1]), tonumber(args[2])
  local file = assert(io.open(args[3], "rb"))
  wrk.method, wrk.body = "POST", file:read("*a")
  file:close()
  for at = 4, #args, 2 do wrk.headers[args[at]] = args[at + 1] end
  time, waiting = ffi.new("marline_time"), 0
end

local function now()
  ffi.C.clock_gettime(1, time)
  return tonumber(time.sec) + tonumber(time.nsec) / 1e9
end

-- Called before every request of a connection: the first, and each that follows an answer.
function delay()
  last = now()
  first = first or last
  if last - first < seconds then return 0 end
  waiting = waiting + 1
  if waiting == connections then
    io.write("drained\n")
    io.flush()
  end
  return FOREVER_MS
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"errors":%d,"p50":%.4f,"p99":%.4f}\n',
    summary.requests, thread:get("last") - thread:get("first"), e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
