# frozen_string_literal: true

require 'rack'

run lambda { |env|
  request = Rack::Request.new(env)
  if request.path_info == '/'
    name = request.params.fetch('name', 'World')
    text = "Hello, #{name}! This is #{ENV.fetch('GAE_SERVICE')} on Ruby #{RUBY_VERSION}.\n"
    [200, { 'content-type' => 'text/plain; charset=utf-8' }, [text]]
  else
    [404, { 'content-type' => 'text/plain' }, ["There is no such page.\n"]]
  end
}
