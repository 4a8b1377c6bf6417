# Broadcasts with Rails's Action Cable over its Redis adapter. Arguments: the URL of Redis, the channels' prefix. Each line on
# stdin is [stream, message]; each is answered by a line.
require 'json'
require 'logger'
require 'active_support/all'
require 'action_cable'

server = ActionCable.server
server.config.logger = Logger.new(File::NULL)
server.config.cable = { adapter: 'redis', url: ARGV[0], channel_prefix: ARGV[1] }.with_indifferent_access
$stdin.each_line do |line|
  stream, message = JSON.parse(line)
  server.broadcast(stream, message)
  puts JSON.generate({ published: true })
  $stdout.flush
end
