-- Fields of the message hash, in the order that a row has them.
local MESSAGE = {'body', 'content_type', 'content_encoding', 'headers', 'properties', 'about'}

-- A whole letter as a short list: the letter hash as one JSON object, then the fields of the message hash. One long
-- value costs the client a tenth of what as many short ones do. Empty if there is no such letter.
local function row(id)
  local flat = redis.call('HGETALL', letter_key(id))
  local message = redis.call('HMGET', message_key(id), unpack(MESSAGE))
  if #flat == 0 or not message[1] then return {} end
  local letter = {}
  for i = 1, #flat, 2 do letter[flat[i]] = flat[i + 1] end
  return {cjson.encode(letter), unpack(message)}
end
