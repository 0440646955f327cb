-- wrk: a different question of about 50 words in every request. Environment: GATEWAY_MODEL, GATEWAY_KEY,
-- GATEWAY_STREAM ("true" or "false").
local words = {
  "which", "supplier", "theory", "enzyme", "voltage", "treaty", "integral", "mortgage", "glacier", "syntax",
  "protein", "velocity", "inflation", "sonata", "neuron", "contract", "orbit", "polymer", "dialect", "vector",
  "erosion", "statute", "catalyst", "budget", "photon", "tissue", "rhetoric", "matrix", "climate", "ledger",
  "muscle", "harbour", "quantum", "symptom", "tariff", "genome", "plateau", "axiom", "reactor", "census"
}
local parts = {}
local count = 0

function init(args)
  math.randomseed(os.time())
  for i = 1, 512 do
    local line = {}
    for j = 1, 15 do line[j] = words[math.random(#words)] end
    parts[i] = table.concat(line, " ")
  end
  count = math.random(1000000) * 1000
end

local head = '{"model":"' .. (os.getenv("GATEWAY_MODEL") or "auto") .. '","stream":'
  .. (os.getenv("GATEWAY_STREAM") or "false") .. ',"messages":[{"role":"user","content":"Question '
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. (os.getenv("GATEWAY_KEY") or "none")

function request()
  count = count + 1
  local a, b, c = parts[math.random(512)], parts[math.random(512)], parts[math.random(512)]
  return wrk.format(nil, nil, nil, head .. count .. ": " .. a .. ", " .. b .. " or " .. c .. '?"}]}')
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"duration_us":%d,"p50_us":%f,"p99_us":%f,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
