-- One operation on one shelf of records.
--
-- KEYS[1]  the shelf: a hash of "s" -> the number of the last put, and "r" .. name -> "<end of its life> <its number> <value>", where
--          ends are Unix milliseconds of this server
--
-- ARGV[1]  "put", "get", "take" or "list"
-- put:   ARGV[2] name, [3] value, [4] milliseconds it lives, [5] "any", "absent" or "present", [6] the most records, or ""
-- get, take: ARGV[2] name;  list: ARGV[2] the number that was last seen
--
-- reply  { 1, or 0 if nothing was put; the number of the last put; name, value, ... in the order of their numbers }
--
-- A shelf's first number is the time: so numbers grow also over the loss of a shelf. The hash is never emptied while it is used:
-- while a slot of a cluster moves, a command on a key that is missing fails.

local shelf = KEYS[1]
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function whole(number)
  return string.format('%.0f', number)
end

local function parsed(text)
  local ends, number, value = string.match(text, '^(%d+) (%d+) (.*)$')
  return tonumber(ends), tonumber(number), value
end

local function sequence()
  return tonumber(redis.call('HGET', shelf, 's')) or 0
end

local function record(name)
  local text = redis.call('HGET', shelf, 'r' .. name)
  if text then
    local ends, _, value = parsed(text)
    if ends > now_ms then
      return value
    end
  end
end

-- All that live, and away with the others.
local function living()
  local rows, fields = {}, redis.call('HGETALL', shelf)
  for at = 1, #fields, 2 do
    if string.sub(fields[at], 1, 1) == 'r' then
      local ends, number, value = parsed(fields[at + 1])
      if ends > now_ms then
        rows[#rows + 1] = { number, string.sub(fields[at], 2), value }
      else
        redis.call('HDEL', shelf, fields[at])
      end
    end
  end
  return rows
end

local function put(name, value, life_ms, when, most)
  local is_there = record(name) ~= nil
  if (when == 'absent' and is_there) or (when == 'present' and not is_there) then
    return { 0, sequence() }
  end
  if most ~= '' and not is_there and #living() >= tonumber(most) then
    return { 0, sequence() }
  end
  local number = math.max(sequence() + 1, now_ms)
  local text = whole(now_ms + life_ms) .. ' ' .. whole(number) .. ' ' .. value
  local left_ms = redis.call('PTTL', shelf)
  redis.call('HSET', shelf, 's', whole(number), 'r' .. name, text)
  if left_ms < life_ms then
    redis.call('PEXPIRE', shelf, whole(life_ms))
  end
  return { 1, number }
end

local function found(name, value)
  if value then
    return { 1, 0, name, value }
  end
  return { 1, 0 }
end

local function list(after)
  local last = sequence()
  local reply = { 1, last }
  if last == after then
    return reply
  end
  if last < after then
    after = 0
  end
  local rows = living()
  table.sort(rows, function(one, other)
    return one[1] < other[1]
  end)
  for _, row in ipairs(rows) do
    if row[1] > after then
      reply[#reply + 1] = row[2]
      reply[#reply + 1] = row[3]
    end
  end
  return reply
end

local operation, name = ARGV[1], ARGV[2]
if operation == 'put' then
  return put(name, ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[6])
elseif operation == 'get' then
  return found(name, record(name))
elseif operation == 'take' then
  local value = record(name)
  if value then
    redis.call('HDEL', shelf, 'r' .. name)
  end
  return found(name, value)
else
  return list(tonumber(name))
end
