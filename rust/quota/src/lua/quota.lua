-- One operation on one user's account: everything of it, or nothing.
--
-- KEYS[1]  state: "<epoch> <sequence>"; for probe a key of its own
-- KEYS[2]  leases in flight: a sorted set of lease id -> end of its life, in Unix milliseconds
-- KEYS[3]  the record of the lease: "g <amount> ..." while it is granted, "e" once it has ended; for set the list of notes
-- KEYS[4...]  counters. All keys have one hash tag, hence one slot of a cluster.
--
-- ARGV[1]  "reserve", "settle", "extend", "read", "restore", "reopen", "set" or "probe"
-- ARGV[2]  the epoch that the caller last saw here, or 0 if it never did;  ARGV[3]  the sequence it last saw
-- ARGV[4]  the lease's id; for set the note
-- ARGV[5]  milliseconds a lease in flight lives without being extended
-- ARGV[6]  milliseconds its record is kept after this call
-- ARGV[7]  "open" if the lease is in flight until it is settled, else ""
-- ARGV[8]  reserve: the most leases in flight, or "" for any number
--          settle: "sure" if the caller knows that the lease has not ended, else "": matters only where its record is gone
-- ARGV[9]  the second at which the last of the buckets begins;  ARGV[10]  the second at which the first of them ends
-- and for each counter three more, the amounts at most MOST:
--          amount (reserve, reopen: to take; settle: used in the end; restore: the least it may say; set: what it is to say),
--          bound (reserve: its limit, or "" for none; settle: what the caller knows was taken),
--          the millisecond after which Redis may forget it
--
-- reply  { verdict, now in Unix milliseconds, epoch, sequence, leases in flight, count of counter 1, ... }; the counts as they
--        are now, those of set as they were
-- verdict  0 done; n > 0: counter n is full and nothing was taken; -1: too many leases in flight, nothing was taken;
--          -2: a bucket is not the current one; -3: the store has older data than the caller saw; -4: the lease had ended.
--          With -2 and -3 leases in flight are not counted, nor for a reservation that is not in flight and takes no place.
--
-- Redis does not roll back a script that fails halfway, so whatever can fail is looked at before the first write. Numbers are
-- exact up to 2^53, and tostring writes large ones as "1e+15": hence MOST and whole. While a slot of a cluster moves to another
-- node, a command on a key that is missing fails, also inside a script: so no key is touched after it may have been emptied.
--
-- It runs for every request, on the one thread that all gateways share: so what a request does not need is not asked for, and
-- text stays text as long as it is only handed on (arithmetic takes it as it is, and `x - 0` is the number that it says).

local DONE, CROWDED, MOVED, OLDER, ENDED = 0, -1, -2, -3, -4
local ARGUMENTS, FIRST_ARGUMENT, FIRST_KEY = 3, 11, 3
local MOST = 999999999999999
-- 8 days, a hundred less one, 366 days.
local STATE_LIFE_S, LAST_NOTE, NOTES_LIFE_S = '691200', '99', '31622400'

local call, format, keys, argv = redis.call, string.format, KEYS, ARGV
local operation = argv[1]
local time = call('TIME')
local now_s, now_us = time[1] - 0, time[2] - 0
local now_ms = now_s * 1000 + (now_us - now_us % 1000) / 1000
local epoch, sequence, flying = '0', 0, 0
local counts = {}

local function whole(number)
  return format('%d', number)
end

local function reply(verdict)
  return { verdict, now_ms, epoch - 0, sequence, flying, unpack(counts) }
end

local function count_flying()
  flying = call('ZCOUNT', keys[2], '(' .. whole(now_ms), '+inf')
end

if operation == 'probe' then
  call('SET', keys[1], '1', 'PX', '1000')
  return reply(DONE)
end

-- Look.

local reserves, settles, reopens = operation == 'reserve', operation == 'settle', operation == 'reopen'
local extends, restores, sets = operation == 'extend', operation == 'restore', operation == 'set'
local reads = operation == 'read'

if not (reserves or settles or reopens or extends or restores or sets or reads) then
  return redis.error_reply('ERR no such operation on a quota account')
end

local state = call('GET', keys[1])
if state then
  local first, second = state:match('^(%d+) (%d+)$')
  if not first then
    return redis.error_reply('ERR the state of a quota account is not one')
  end
  epoch, sequence = first, second - 0
end

local held = {}
for i = 1, #keys - FIRST_KEY do
  local text = call('GET', keys[FIRST_KEY + i]) or '0'
  if not (text == '0' or text:match('^%-?[1-9]%d*$')) or #text > 15 then
    return redis.error_reply('ERR the value at a quota key is not a count')
  end
  local count = text - 0
  held[i] = count
  counts[i] = count > 0 and count or 0
end

local record = nil
if reserves or settles or extends or reopens then
  record = call('GET', keys[3])
end

-- Decide. `steps` is what is added to each counter.

if argv[2] ~= '0' and (epoch ~= argv[2] or sequence < argv[3] - 0) and not (restores or reopens) then
  return reply(OLDER)
end
local has_ended = record == 'e' and not reopens or extends and not record
-- Before the bucket is looked at: a reservation that is asked for again at midnight was taken from the day before.
local is_known = record and (reserves or reopens)
if not has_ended and not is_known and (reserves or sets or reads) and (now_s < argv[9] - 0 or now_s >= argv[10] - 0) then
  return reply(MOVED)
end
local goes_on = not (has_ended or is_known or reads)
local opens = argv[7] == 'open'
if settles and goes_on then
  -- Later, when its own place is free.
elseif opens or not reserves or argv[8] ~= '' then
  count_flying()
end
if not goes_on then
  return reply(has_ended and ENDED or DONE)
end

local steps = {}
local at = FIRST_ARGUMENT

if reserves then
  if argv[8] ~= '' and flying >= argv[8] - 0 then
    return reply(CROWDED)
  end
  for i = 1, #counts do
    local step, limit = argv[at] - 0, argv[at + 1]
    if limit ~= '' and step > 0 and counts[i] + step > limit - 0 then
      return reply(i)
    end
    steps[i] = step
    at = at + ARGUMENTS
  end
elseif settles and record then
  local taken = record:gmatch('%d+')
  for i = 1, #counts do
    steps[i] = argv[at] - (taken() or 0)
    at = at + ARGUMENTS
  end
elseif settles and argv[8] == 'sure' then
  for i = 1, #counts do
    steps[i] = argv[at] - argv[at + 1]
    at = at + ARGUMENTS
  end
elseif restores then
  for i = 1, #counts do
    steps[i] = math.max(argv[at] - counts[i], 0)
    at = at + ARGUMENTS
  end
elseif sets then
  steps[1] = argv[at] - held[1]
end

-- Write.

if settles then
  -- The first write of all, so it may fail: nobody has looked yet whether this is a sorted set.
  call('ZADD', keys[2], 'XX', '0', argv[4])
  count_flying()
  call('ZREM', keys[2], argv[4])
  call('SET', keys[3], 'e', 'PX', argv[6])
elseif extends then
  call('PEXPIRE', keys[3], argv[6])
elseif reserves or reopens then
  local granted = 'g'
  for i = 1, #counts do
    granted = granted .. ' ' .. argv[FIRST_ARGUMENT + (i - 1) * ARGUMENTS]
  end
  call('SET', keys[3], granted, 'PX', argv[6])
elseif sets then
  -- The first write of all, so it may fail.
  call('LPUSH', keys[3], argv[4])
  call('LTRIM', keys[3], '0', LAST_NOTE)
  call('EXPIRE', keys[3], NOTES_LIFE_S)
end

if opens then
  local lease_ms = argv[5] - 0
  local is_new = call('ZADD', keys[2], whole(now_ms + lease_ms), argv[4]) == 1
  call('PEXPIRE', keys[2], whole(2 * lease_ms))
  call('ZREMRANGEBYSCORE', keys[2], '-inf', whole(now_ms))
  if is_new then
    flying = flying + 1
  else
    -- It may have been alive or dead.
    count_flying()
  end
end

at = FIRST_ARGUMENT + 2
for i = 1, #steps do
  local step = steps[i]
  if step < -counts[i] then
    step = -counts[i]
  end
  if step ~= 0 then
    local count, forget_at_ms = math.min(held[i] + step, MOST), argv[at]
    -- At least a second from now: a bucket may be settled after it was forgotten.
    if forget_at_ms - now_ms < 1000 then
      forget_at_ms = whole(now_ms + 1000)
    end
    call('SET', keys[FIRST_KEY + i], whole(count), 'PXAT', forget_at_ms)
    if not sets then
      counts[i] = count > 0 and count or 0
    end
  end
  at = at + ARGUMENTS
end

-- An epoch begins with the account, and anew with the first who found it rolled back: so everybody else who saw the old one
-- finds out too, and none of them begins another.
if epoch == '0' or (restores and epoch == argv[2]) then
  epoch = whole(now_s * 1000000 + now_us)
end
sequence = sequence + 1
call('SET', keys[1], epoch .. ' ' .. whole(sequence), 'EX', STATE_LIFE_S)

return reply(DONE)
