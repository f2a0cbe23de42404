# SPDX-License-Identifier: Apache-2.0

Gem::Specification.new do |s|
  s.name = "bkp_plugin"
  s.version = "0.1.0"
  s.summary = "Strategies, verifiers, notifiers and engines for bkp, in Ruby"
  s.authors = ["bkp"]
  s.license = "Apache-2.0"
  s.required_ruby_version = ">= 2.7"
  s.files = Dir["bkp_plugin.rb", "bkp_plugin/*.rb"]
  s.require_paths = ["."]
  s.add_dependency "google-protobuf", ">= 3.21"
  s.add_dependency "grpc", ">= 1.51"
end
