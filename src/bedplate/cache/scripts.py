"""The Lua scripts that keep the cache right: each is one step for everyone who uses the server.

An entry is two keys of one hash slot: its value, and its state, a hash with the lease of who loads
it now and the floor below which nothing may be stored. Floors are ids of transactions: a read that
does not see transaction `floor` is older than the last invalidation. Times are the server's.
"""

# KEYS value, state · ARGV token, milliseconds of the lease, "1" to take it in spite of a value
# Returns the value that is there, 0 when another one loads, or {floor} to whoever got the lease.
LEASE = """
if ARGV[3] ~= '1' then
  local found = redis.call('GET', KEYS[1])
  if found then return found end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', KEYS[2], 'token', 'until', 'floor')
if state[1] and tonumber(state[2]) > now then return 0 end
redis.call('HSET', KEYS[2], 'token', ARGV[1], 'until', string.format('%d', now + ARGV[2]))
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return {state[3] or '0'}
"""

# KEYS value, state · ARGV token, milliseconds it is fresh, milliseconds it may be served stale
# after that, below which transaction its reader saw everything ("" for all that is committed), text
# Returns 1 when stored, 0 when the lease was voided or the floor lies higher. No milliseconds:
# the lease is given back and nothing stored.
FILL = """
local state = redis.call('HMGET', KEYS[2], 'token', 'floor')
if state[1] ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[2], 'token', 'until')
local fresh = tonumber(ARGV[2])
if fresh <= 0 then return 0 end
if ARGV[4] ~= '' and tonumber(state[2] or '0') >= tonumber(ARGV[4]) then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lasts = fresh + tonumber(ARGV[3])
redis.call('SET', KEYS[1],
  string.format('%d %d ', now + fresh, now + lasts) .. ARGV[5], 'PX', lasts)
return 1
"""

# KEYS value, state, of each entry · ARGV milliseconds the floor lasts, then each one's transaction
# ("0" when its id is not known)
# Whoever loads now has its lease voided: what it read may be from before. What takes no memory
# comes first, so that a server that is out of it forgets all the same.
FORGET = """
for each = 2, #ARGV do
  local state = KEYS[2 * each - 2]
  redis.call('DEL', KEYS[2 * each - 3])
  local found = redis.call('HMGET', state, 'token', 'floor')
  if found[1] then redis.call('HDEL', state, 'token', 'until') end
  if tonumber(found[2] or '0') < tonumber(ARGV[each]) then
    redis.pcall('HSET', state, 'floor', ARGV[each])
    redis.pcall('PEXPIRE', state, ARGV[1])
  end
end
return 1
"""

# KEYS tag · ARGV new version, transaction, milliseconds it lasts
# Entries name the version of each tag they were stored under: with another one they are dead.
FORGET_TAG = """
local known = redis.call('GET', KEYS[1])
local floor = known and tonumber(string.match(known, ':(%d+)$')) or 0
floor = math.max(floor, tonumber(ARGV[2]))
redis.call('DEL', KEYS[1])
redis.pcall('SET', KEYS[1], ARGV[1] .. ':' .. string.format('%d', floor), 'PX', ARGV[3])
return 1
"""

ALL = (LEASE, FILL, FORGET, FORGET_TAG)
