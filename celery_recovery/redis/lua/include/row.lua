-- A whole letter as a short list: the letter hash as one JSON object, then its message. One long value costs the client a
-- tenth of what as many short ones do. Empty if there is no such letter (see read.lua). With `most`, a body of more bytes
-- than that is left out: only the head of the message is read (its frame: dead_letters/packing.py).
local function row(id, most)
  local flat = redis.call('HGETALL', letter_key(id))
  local letter = {}
  for i = 1, #flat, 2 do letter[flat[i]] = flat[i + 1] end
  if not is_number(letter.died_at) then return {} end
  local message
  if most and (tonumber(letter.size) or 0) > most then
    local frame = redis.call('GETRANGE', message_key(id), 0, 4)
    message = #frame == 5 and redis.call('GETRANGE', message_key(id), 0, 4 + select(2, struct.unpack('>BI4', frame)))
  else
    message = redis.call('GET', message_key(id))
  end
  if not message then return {} end
  return {cjson.encode(letter), message}
end
