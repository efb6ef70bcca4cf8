// What the server does at once: scripts in Lua (Redis, "Scripting with Lua").
//
// Invariant: a script looks before it changes anything, so it changes all or nothing.

/**
 * Changes a record.
 *
 * KEYS: 1 record, 2 open, 3 time, 4 end, 5 sum, 6 owner, 7 value that is put, 8 ... values that are dropped.
 * ARGV: 1 id, 2 expected revision, 3 next entry or nothing, 4 its bytes, 5 most bytes of all or nothing, 6 whether the owner
 * must be there, 7 whether a value is put, 8 when it was submitted, 9 when it expires or nothing, 10 whether it is open,
 * 11 its owner, 12 channel.
 */
export const WRITE = `
local record = redis.call('HMGET', KEYS[1], 'revision', 'bytes')
local revision = tonumber(record[1] or '0')
if revision ~= tonumber(ARGV[2]) then return 'conflict' end
if ARGV[6] == '1' and redis.call('EXISTS', KEYS[6]) == 0 then return 'no-owner' end
local more = tonumber(ARGV[4]) - tonumber(record[2] or '0')
local sum = tonumber(redis.call('HGET', KEYS[5], 'bytes') or '0')
if ARGV[5] ~= '' and sum + more > tonumber(ARGV[5]) then return 'full' end
if ARGV[7] == '1' and redis.call('EXISTS', KEYS[7]) == 0 then return 'lost' end
if ARGV[7] == '1' then redis.call('PERSIST', KEYS[7]) end
for i = 8, #KEYS do redis.call('UNLINK', KEYS[i]) end
redis.call('HINCRBY', KEYS[5], 'bytes', string.format('%.0f', more))
if ARGV[3] == '' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  if revision > 0 then redis.call('HINCRBY', KEYS[5], 'jobs', -1) end
else
  redis.call('HSET', KEYS[1], 'revision', revision + 1, 'entry', ARGV[3], 'bytes', ARGV[4])
  redis.call('ZADD', KEYS[3], ARGV[8], ARGV[1])
  if revision == 0 then redis.call('HINCRBY', KEYS[5], 'jobs', 1) end
end
if ARGV[9] == '' then redis.call('ZREM', KEYS[4], ARGV[1]) else redis.call('ZADD', KEYS[4], ARGV[9], ARGV[1]) end
if ARGV[10] == '1' then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[11])
else
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('PUBLISH', ARGV[12], ARGV[1])
end
return 'done'
`;

/** Changes the beat of an owner. KEYS: 1 owners. ARGV: 1 its name, 2 expected beat, 3 next one or nothing. KEYS: 2 its mark. */
export const BEAT = `
local beat = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if beat ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[2])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
  redis.call('SET', KEYS[2], ARGV[3])
end
return 1
`;
