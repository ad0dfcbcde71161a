--[[
  Counts what some letters are.

  KEYS[1]  root of the store's keys

  ARGV[1…] ids of letters; those that are not known are left out

  Returns  JSON object: `state` -> (state -> letters); of those that are not finished, `task`, `error_type`, `reason`,
           `queue` and `fingerprint` -> (value -> letters), `held`, `open` and, if there are any, `oldest` and `newest`
           (time of death, unix s)
]]
-- include number read enter

local tally = {state = {}, held = 0, open = 0}
for _, dimension in ipairs(COUNTED) do tally[dimension] = {} end

local function add(dimension, value) tally[dimension][value] = (tally[dimension][value] or 0) + 1 end

for i = 1, #ARGV do
  local letter = read(ARGV[i], {'died_at', 'held', unpack(COUNTED)})
  if letter then add('state', letter.state) end
  if letter and OPEN[letter.state] then
    local died_at = tonumber(letter.died_at)
    for _, dimension in ipairs(COUNTED) do add(dimension, letter[dimension]) end
    tally.open = tally.open + 1
    tally.held = tally.held + (letter.held == '1' and 1 or 0)
    tally.oldest = math.min(tally.oldest or died_at, died_at)
    tally.newest = math.max(tally.newest or died_at, died_at)
  end
end
if tally.oldest then
  tally.oldest, tally.newest = string.format('%.6f', tally.oldest), string.format('%.6f', tally.newest)
end
return cjson.encode(tally)
