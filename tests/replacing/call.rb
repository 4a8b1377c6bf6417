# Calls a function of the page's code for Ruby: its name, then its arguments as JSON. Prints the answer as JSON.
require_relative "push"

name = ARGV[0].gsub(/[A-Z]/) { |letter| "_#{letter.downcase}" }
puts JSON.generate(Push.public_send(name, *ARGV.drop(1).map { |text| JSON.parse(text) }))
