--[[
  Stores a death. Safe to repeat: the same death delivered again, or a late one of an earlier life, changes nothing.

  KEYS[1]  root of the store's keys

  ARGV[1]  id of the letter
  ARGV[2]  state of a letter that has just died: 'failed' or 'review'
  ARGV[3]  how long and how many finished letters are kept, as in '604800/-1'; -1: no limit
  ARGV[4]  what its group is told beside: JSON object of message, code, worker, version
  ARGV[5]  its message, as `packing.py` writes it
  ARGV[6…] fields of the letter hash and their values, in turn; times in unix seconds, sizes in bytes

  Returns  how it was taken, and news of its group
           'new'        there was no such letter
           'again'      its replay died (or, once it was finished, a task of the same id did)
           'duplicate'  known already, or older than what is known
           'refused'    it cannot be stored, and nothing was: the field at fault stands in place of news
           ''           no news of the group
           'new'        it is the group's first
           'growing'    the group has many more deaths in this hour than it is used to
           'regressed'  the group was resolved
           'unignored'  the group was ignored until now
]]
-- include now number read enter move sweep outcome group

local id, state, kept, message = ARGV[1], ARGV[2], ARGV[3], ARGV[5]
local facts = cjson.decode(ARGV[4])
local SWEEP_LIMIT = 5

local fields, letter = {}, {}
for i = 6, #ARGV, 2 do
  fields[#fields + 1], fields[#fields + 2] = ARGV[i], ARGV[i + 1]
  letter[ARGV[i]] = ARGV[i + 1]
end
letter.state = state

local function number_of(text) return is_number(text) and tonumber(text) or 0 end

-- Is this death news to a letter that exists? By its life first: the number of replays behind it.
local function is_news(known)
  local life = tonumber(letter.replays)
  if letter.death == known.death then return false end
  if known.state == 'retry' or known.state == 'replayed' then
    return life > 0 and life >= number_of(known.number)
  elseif OPEN[known.state] then
    return life > number_of(known.replays)
  end
  -- Finished: a later replay, or the same id sent afresh and dead after we had finished with it.
  return life > number_of(known.number) or (life == 0 and tonumber(letter.died_at) > number_of(known.changed_at))
end

local function store(at)
  redis.call('HSET', letter_key(id), 'state', state, 'changed_at', at, unpack(fields))
  redis.call('SET', message_key(id), message)
  enter(id, letter)
end

-- The first field that an index, a counter or the group could not take. All is looked at before the first write: Redis
-- takes back nothing of what a script has done before it fails.
local function unfit()
  for _, name in ipairs({'died_at', 'first_failure'}) do
    if not is_number(letter[name]) then return name end
  end
  for _, name in ipairs({'replays', 'size'}) do
    if not string.match(letter[name] or '', '^%d+$') then return name end
  end
  for _, name in ipairs({'task', 'error_type', 'fingerprint', 'queue', 'reason', 'exception', 'death'}) do
    if not letter[name] then return name end
  end
  for _, name in ipairs({'message', 'code', 'worker', 'version'}) do
    if type(facts[name]) ~= 'string' then return name end
  end
end

local at, fault = now(), unfit()
if fault then return {'refused', fault} end
sweep(tonumber(at), kept, SWEEP_LIMIT)
local known = read(id, {'death', 'replays', 'number', 'changed_at', 'first_failure', 'operation', unpack(FILED_BY)})

if not known then
  store(at)
  redis.call('HSET', letter_key(id), 'stored_at', at)
  redis.call('HINCRBY', TOTALS, 'added', 1)
  return {'new', count_death(letter, facts, tonumber(at))}
end

if not is_news(known) then
  redis.call('HINCRBY', TOTALS, 'duplicate', 1)
  return {'duplicate', ''}
end

tell_end(known, 'died')
leave(id, known)
store(at)
redis.call('ZREM', FINISHED, id)
redis.call('HDEL', letter_key(id), 'lease')
redis.call('HSET', letter_key(id), 'outcome', 'died again')
if number_of(known.replays) > tonumber(letter.replays) then
  redis.call('HSET', letter_key(id), 'replays', known.replays)
end
if is_number(known.first_failure) and tonumber(known.first_failure) < tonumber(letter.first_failure) then
  redis.call('HSET', letter_key(id), 'first_failure', known.first_failure)
end
redis.call('HINCRBY', TOTALS, 'again', 1)
return {'again', count_death(letter, facts, tonumber(at))}
