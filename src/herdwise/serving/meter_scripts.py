"""What the shared meter has Redis or Valkey do: scripts in Lua, each of which runs whole."""

from __future__ import annotations

# All scripts: KEYS = the minute's hash, the hash of held sums, the set of their ends, a counter per budget.
_FREE = """
local over = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[1])
for _, id in ipairs(over) do
  redis.call('HDEL', KEYS[2], id)
  redis.call('ZREM', KEYS[3], id)
end
local held = 0
for _, nanos in ipairs(redis.call('HVALS', KEYS[2])) do held = held + tonumber(nanos) end
"""
# ARGV: now, requests per minute or -1, tokens per minute or -1, life of the minute, a limit per budget.
# Returns {what, number}: the minute's requests or tokens are used up; a counter must be filled from the
# ledger first; a budget is spent; or which budget is the tightest (-1 = there is none), and what it has left.
# A counter is there for each kind of period, whether there is a budget for it (a limit) or not (-1), so that
# one that is set later finds what was spent, also what no ledger holds yet.
BEGIN = (
    _FREE
    + """
local requests = tonumber(redis.call('HGET', KEYS[1], 'requests') or '0')
local tokens = tonumber(redis.call('HGET', KEYS[1], 'tokens') or '0')
if tonumber(ARGV[2]) >= 0 and requests >= tonumber(ARGV[2]) then return {'requests', 0} end
if tonumber(ARGV[3]) >= 0 and tokens >= tonumber(ARGV[3]) then return {'tokens', 0} end
local left, tightest = -1, -1
for place = 4, #KEYS do
  local spent = redis.call('GET', KEYS[place])
  if not spent then return {'unknown', place - 4} end
  local limit = tonumber(ARGV[place + 1])
  if limit >= 0 then
    local rest = limit - tonumber(spent) - held
    if rest <= 0 then return {'spent', place - 4} end
    if left < 0 or rest < left then left, tightest = rest, place - 4 end
  end
end
redis.call('HINCRBY', KEYS[1], 'requests', 1)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {'left', tightest, left}
"""
)
# ARGV: now, tokens per minute or -1, life of the minute, id, nanos, most nanos, tokens, end of the hold, then
# the limits. Returns, beside what BEGIN does, what is held.
RESERVE = (
    _FREE
    + """
local tokens = tonumber(redis.call('HGET', KEYS[1], 'tokens') or '0')
if tonumber(ARGV[2]) >= 0 and tokens + tonumber(ARGV[7]) > tonumber(ARGV[2]) then return {'tokens', 0} end
local least = tonumber(ARGV[5])
local hold = math.max(least, tonumber(ARGV[6]))
for place = 4, #KEYS do
  local spent = redis.call('GET', KEYS[place])
  if not spent then return {'unknown', place - 4} end
  local limit = tonumber(ARGV[place + 5])
  if limit >= 0 then
    local rest = limit - tonumber(spent) - held
    if rest < least then return {'spent', place - 4} end
    hold = math.min(hold, math.max(least, math.floor(rest / 2)))
  end
end
redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[7])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[4], string.format('%d', hold))
redis.call('ZADD', KEYS[3], ARGV[8], ARGV[4])
return {'held', hold}
"""
)
# ARGV: id, nanos, tokens to add to the minute (may be negative), 1 = it was tried before. Once the hold is
# gone, such a charge has been made.
SETTLE = """
local was_held = redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
if ARGV[4] == '1' and was_held == 0 then return 0 end
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HINCRBY', KEYS[1], 'tokens', ARGV[3]) end
for place = 4, #KEYS do
  if redis.call('EXISTS', KEYS[place]) == 1 then redis.call('INCRBY', KEYS[place], ARGV[2]) end
end
return 1
"""
# KEYS = the hash of held sums, the set of their ends. ARGV: how the names of those begin that are let go.
# Returns how many there were.
RELEASE = """
local n = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  if string.sub(id, 1, #ARGV[1]) == ARGV[1] then
    redis.call('HDEL', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
    n = n + 1
  end
end
return n
"""
# ARGV: what the ledger holds. Returns by how much the counter was raised to that.
RAISE = """
local spent = redis.call('GET', KEYS[1])
if not spent or tonumber(spent) >= tonumber(ARGV[1]) then return 0 end
redis.call('INCRBY', KEYS[1], string.format('%d', tonumber(ARGV[1]) - tonumber(spent)))
return tonumber(ARGV[1]) - tonumber(spent)
"""
