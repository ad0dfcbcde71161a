--[[
  Takes parked tasks away that a claim has seen to: published and confirmed, or ended.

  KEYS[1]  root of the store's keys

  ARGV[1]  token of the claim
  ARGV[2…] keys

  Returns  how many were taken away; not those that somebody else has claimed since
]]
-- include parked

local token, removed = ARGV[1], 0
for i = 2, #ARGV do
  local key = ARGV[i]
  local parked = read_parked(key, {'claim', 'circuit', unpack(PARKED_COUNTED)})
  if parked and parked.claim == token then
    forget_parked(key, parked)
    removed = removed + 1
  end
end
return removed
