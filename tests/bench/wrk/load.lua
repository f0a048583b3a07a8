-- One body, POSTed again and again; results as one line of JSON. Parameters are environment variables:
-- BENCH_BODY_FILE; BENCH_DELAY_MS: mean of a random wait before each request, which makes a rate;
-- BENCH_EXPECTED: two texts, separated by a newline, that each answer of status 200 must contain.
local file = io.open(os.getenv("BENCH_BODY_FILE"), "rb")
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = file:read("*a")
file:close()

local mean = tonumber(os.getenv("BENCH_DELAY_MS") or "0")
if mean > 0 then
  function delay() return math.random(0, 2 * mean) end
end

local threads = {}
function setup(thread) table.insert(threads, thread) end

wrong = 0
local first, second = (os.getenv("BENCH_EXPECTED") or ""):match("([^\n]+)\n([^\n]+)")
if first then
  function response(status, headers, body)
    if status ~= 200 or not body:find(first, 1, true) or not body:find(second, 1, true) then
      wrong = wrong + 1
    end
  end
end

function done(summary, latency, requests)
  local wrong_count = 0
  for _, thread in ipairs(threads) do wrong_count = wrong_count + thread:get("wrong") end
  local errors = summary.errors
  io.write(string.format(
    'JSON {"requests":%d,"duration_us":%d,"bytes":%d,"wrong":%d,"status_errors":%d,"socket_errors":%d,' ..
    '"timeouts":%d,"p50_us":%d,"p99_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration, summary.bytes, wrong_count, errors.status,
    errors.connect + errors.read + errors.write, errors.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
