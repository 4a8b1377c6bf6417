# Publishes to sidestream, with nothing but Ruby's own library. Calls return at once; a thread sends them in their order,
# and tries an event again, under the same idempotency key, until it arrives or is a minute old.
require "json"
require "net/http"
require "securerandom"

module Push
  URL = URI(ENV.fetch("SIDESTREAM_URL", "http://127.0.0.1:8081"))
  KEY = ENV.fetch("SIDESTREAM_KEY")
  MOST = 1000 # that may wait
  QUEUE = Thread::SizedQueue.new(MOST)

  module_function

  def send_to_topic(topic, event, data)
    envelope = { topic:, event:, data:, idempotency_key: SecureRandom.uuid }
    QUEUE.push([JSON.generate(envelope), now + 60], true)
  rescue ThreadError
    warn "sidestream: dropped, #{MOST} events are waiting"
  end

  def deliver(envelope, deadline)
    answer = Net::HTTP.start(URL.host, URL.port, open_timeout: 5, read_timeout: 5) do |http|
      http.post("/publish", envelope, "Authorization" => "Bearer #{KEY}", "Content-Type" => "application/json")
    end
    warn "sidestream: #{answer.code} #{answer.body}" unless answer.is_a?(Net::HTTPSuccess)
    raise IOError, answer.code if answer.is_a?(Net::HTTPServerError)
  rescue IOError, SystemCallError, Timeout::Error, Net::HTTPBadResponse => error
    return warn "sidestream: gave up: #{error.message}" if now > deadline
    sleep 1
    retry
  end

  def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

  Thread.new { loop { deliver(*QUEUE.pop) } }
end
