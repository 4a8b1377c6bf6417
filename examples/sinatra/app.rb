# A board of messages, as any Sinatra app might be. It has no stream of its own: `/events` never gets here.
require "json"
require "sinatra"
require "time"
require_relative "push"

KEPT = 200 # messages of each room
ROOMS = Hash.new { |rooms, name| rooms[name] = [] }
LOCK = Mutex.new
last_id = 0

set :port, ENV.fetch("PORT", 3000)
set :bind, "127.0.0.1"
set :server, "puma"
set :quiet, true

before("/api/*") { content_type :json }

get("/") { send_file File.join(settings.public_folder, "index.html") }

get "/api/messages" do
  LOCK.synchronize { ROOMS.fetch(params["room"], []) }.to_json
end

post "/api/messages" do
  body = JSON.parse(request.body.read)
  room, author, text = %w[room author text].map { |field| body[field].to_s.strip }
  unless room.size.between?(1, 40) && author.size.between?(1, 40) && text.size.between?(1, 2000)
    halt 400, { error: "A message needs a room, an author and 1 to 2000 characters." }.to_json
  end

  LOCK.synchronize do
    message = { id: last_id += 1, author:, text:, at: Time.now.utc.iso8601 }
    ROOMS[room] = [*ROOMS[room], message].last(KEPT)
    Push.send_to_topic("room:#{room}", "message:new", message)
    status 201
    message.to_json
  end
end
