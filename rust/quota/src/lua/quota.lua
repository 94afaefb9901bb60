-- Counts in all of one user's buckets at once, or in none of them.
--
-- KEYS[i]        the counter of bucket i; one hash tag in all of them, hence one slot of a cluster
-- ARGV[1]        "reserve", "record", "refund" or "read"
-- ARGV[2 * i]    the limit of bucket i, or "" for none
-- ARGV[2 * i + 1]  when Redis may forget bucket i, in Unix seconds
-- reply          { 0, or the place of the first full bucket, counted from 1; the count of bucket 1; ... }
--
-- Redis does not roll back a script that fails halfway, so whatever can fail is looked at before the
-- first write. INCRBY refuses texts that tonumber takes ("01", "1e3"), hence the patterns.

local operation = ARGV[1]
local reply = { 0 }

for i, key in ipairs(KEYS) do
  local text = redis.call('GET', key) or '0'
  if not (text == '0' or text:match('^%-?[1-9]%d*$')) or #text > 15 then
    return redis.error_reply('ERR the value at a quota key is not a count')
  end
  local count = math.max(tonumber(text), 0)
  local limit = tonumber(ARGV[2 * i])
  if operation == 'reserve' and reply[1] == 0 and limit and count >= limit then
    reply[1] = i
  end
  reply[i + 1] = count
end

local step = 0
if operation == 'record' or (operation == 'reserve' and reply[1] == 0) then
  step = 1
elseif operation == 'refund' then
  step = -1
end

for i, key in ipairs(KEYS) do
  if step == 1 or (step == -1 and reply[i + 1] > 0) then
    reply[i + 1] = redis.call('INCRBY', key, step)
    redis.call('EXPIREAT', key, ARGV[2 * i + 1])
  end
end

return reply
