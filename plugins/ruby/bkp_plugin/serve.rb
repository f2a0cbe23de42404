# SPDX-License-Identifier: Apache-2.0

require "grpc"
require "openssl"

module Bkp
  # The protocol between bkp and a plugin: cookie, handshake, certificate, health, controller and standard output.
  module Serve
    COOKIE = "BKP_PLUGIN"
    VALUE = "b1f7c3f0a2e94d5b8c6d-bkp-plugin"
    PROTOCOL = 1
    SIZES = { "grpc.max_receive_message_length" => 64 << 20, "grpc.max_send_message_length" => 4 << 20 }.freeze
    THREADS = 32 # gRPC refuses what comes when all of them are busy

    def self.run(plugin)
      abort "This is a plugin of bkp. It is started by bkp, and does nothing by itself." if ENV[COOKIE] != VALUE

      # Standard output is the handshake's; what the plugin prints goes to standard error, which bkp logs.
      out = $stdout.dup
      $stdout.reopen($stderr)
      server = GRPC::RpcServer.new(pool_size: THREADS, server_args: SIZES)
      ends = Queue.new
      [service(plugin), health, controller(ends), stdio].each { |s| server.handle(s) }
      socket = File.join(ENV.fetch("PLUGIN_UNIX_SOCKET_DIR", "."), "plugin#{Process.pid}")
      credentials, certificate = credentials(ENV.fetch("PLUGIN_CLIENT_CERT"))
      server.add_http2_port("unix:#{socket}", credentials)
      running = Thread.new { server.run }
      server.wait_till_running
      out.puts "1|#{PROTOCOL}|unix|#{socket}|grpc|#{certificate}"
      out.flush
      ends.pop
      server.stop
      running.join
    end

    # Mutual TLS: bkp's certificate is the only one that is let in, and ours goes into the handshake.
    def self.credentials(client)
      key = OpenSSL::PKey::EC.generate("prime256v1")
      own = OpenSSL::X509::Certificate.new
      own.version = 2 # which is called 3
      own.serial = OpenSSL::BN.rand(64)
      own.subject = own.issuer = OpenSSL::X509::Name.new([%w[CN localhost]])
      own.public_key = key
      own.not_before = Time.now - 3600
      own.not_after = Time.now + 3650 * 24 * 3600
      make = OpenSSL::X509::ExtensionFactory.new(own, own)
      own.add_extension(make.create_extension("subjectAltName", "DNS:localhost"))
      own.add_extension(make.create_extension("basicConstraints", "CA:TRUE", true))
      own.sign(key, "SHA256")
      pair = { private_key: key.to_pem, cert_chain: own.to_pem }
      [GRPC::Core::ServerCredentials.new(client, [pair], true), [own.to_der].pack("m0").delete("=")]
    end

    # Bytes are a message that is not looked into.
    class Bytes
      def self.encode(bytes)
        bytes
      end

      def self.decode(bytes)
        bytes
      end
    end

    # A service by its name, its calls {name => [question, answer]} and, as a block, what answers them.
    def self.of(name, calls, &answers)
      ::Class.new do # Bkp::Class is a message
        include GRPC::GenericService
        self.service_name = name
        self.marshal_class_method = :encode
        self.unmarshal_class_method = :decode
        calls.each { |call, (question, answer)| rpc call, question, answer }
        class_exec(&answers)
      end
    end

    def self.service(plugin)
      kind, calls =
        case plugin
        when Strategy then ["Strategy", { Score: [ScoreRequest, ScoreResponse] }]
        when Verifier then ["Verifier", { Verify: [VerifyRequest, Verdict] }]
        when Notifier then ["Notifier", { Notify: [Event, Notified] }]
        when Engine then ["Engine", { Append: [AppendRequest, Appended], Read: [ReadRequest, Entries] }]
        end
      description = Bkp.const_get("#{kind}Description")
      configured = Bkp.const_get("#{kind}Configured")
      about = plugin.class.about.merge(settings: plugin.class.settings)
      about = { deterministic: true }.merge(about) if kind == "Strategy"
      calls[:Describe] = [Bkp.const_get("#{kind}DescribeRequest"), description]
      # Without it gRPC answers that it is not implemented.
      calls[:Configure] = [Bkp.const_get("#{kind}ConfigureRequest"), configured] if plugin.class.settings.any?
      of("bkp.plugin.v1.#{kind}", calls) do
        define_method(:describe) { |*| description.new(**about) }
        define_method(:configure) do |message, _|
          plugin.configure(JSON.parse(message.config))
          configured.new
        end
        define_method(:score) { |message, _| ScoreResponse.new(scores: plugin.score(message.batch)) }
        define_method(:verify) { |message, _| plugin.verify(message) }
        define_method(:notify) do |message, _|
          plugin.notify(message)
          Notified.new
        end
        define_method(:append) do |message, _|
          ok, entries = plugin.append(message.scope, message.after, message.entry)
          Appended.new(ok: ok, entries: entries)
        end
        define_method(:read) { |m, _| Entries.new(entry: plugin.read(m.scope, m.after, m.limit)) }
      end
    end

    # grpc.health.v1.Health/Check: always serving. The message is field 1, an enum, of value 1.
    def self.health
      of("grpc.health.v1.Health", Check: [Bytes, Bytes]) { define_method(:check) { |*| "\x08\x01".b } }
    end

    # plugin.GRPCController/Shutdown: bkp asks the plugin to end. Its messages are empty.
    def self.controller(ends)
      of("plugin.GRPCController", Shutdown: [Bytes, Bytes]) do
        define_method(:shutdown) do |*|
          ends << true
          "".b
        end
      end
    end

    # plugin.GRPCStdio/StreamStdio: what the plugin prints; nothing, since that goes to standard error.
    def self.stdio
      of("plugin.GRPCStdio", StreamStdio: [Bytes, GRPC::RpcDesc::Stream.new(Bytes)]) do
        define_method(:stream_stdio) { |*| [] }
      end
    end
  end
end
