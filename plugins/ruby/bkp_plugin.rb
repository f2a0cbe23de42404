# SPDX-License-Identifier: Apache-2.0

# Write a strategy, a verifier, a notifier or an engine for bkp in Ruby; see README.md in the folder plugins of bkp.

require "json"
require_relative "bkp_plugin/messages"

module Bkp
  # What plugins of all kinds have in common.
  class Plugin
    class << self
      # Says what the plugin is; the name is NAME of the file bkp-KIND-NAME.
      def plugin(name, version, summary)
        about.update(name: name, version: version, summary: summary)
      end

      # Lists one key of the configuration. Its type is that of the default.
      def setting(key, default, about)
        settings << Setting.new(key: key, type: Bkp.type_of(default), default: JSON.generate(default), about: about)
      end

      def about
        @about ||= {}
      end

      def settings
        @settings ||= []
      end
    end

    # The settings by their keys: those that were given, else the defaults.
    attr_reader :config

    def initialize
      @config = self.class.settings.to_h { |s| [s.key, JSON.parse(s.default)] }
    end

    # Takes the settings that were given, a hash, before the first question. An exception refuses them.
    def configure(config)
      @config.update(config)
    end
  end

  # Prices nodes.
  class Strategy < Plugin
    class << self
      # Names the columns of batch.nodes that score reads: no others are sent.
      def needs(*columns)
        about[:needs] = columns.map(&:to_s)
      end

      # Says that the same batch may get another answer.
      def not_deterministic
        about[:deterministic] = false
      end

      # Says that first_holder_weight replaces the planner's own.
      def owns_first_holder
        about[:owns_first_holder] = true
      end
    end

    # Answers a Batch with Scores: columns of one entry per node, or empty ones. Called from several threads.
    def score(_batch)
      raise NotImplementedError
    end
  end

  # Judges licences.
  class Verifier < Plugin
    # Answers a VerifyRequest with a Verdict; an exception means that nothing was judged.
    def verify(_request)
      raise NotImplementedError
    end
  end

  # Tells people, or other programs, what has happened.
  class Notifier < Plugin
    # Tells an Event; an exception means that it was not told.
    def notify(_event)
      raise NotImplementedError
    end
  end

  # Keeps one order of what several nodes append to it. Both are called from several threads.
  class Engine < Plugin
    # Appends bytes to a scope that has after entries: [true, after + 1], or [false, how many it has].
    def append(_scope, _after, _entry)
      raise NotImplementedError
    end

    # The entries behind the first so many: at most limit, and 1 MiB together or one.
    def read(_scope, _after, _limit)
      raise NotImplementedError
    end
  end

  # The whole main of a plugin. It returns when bkp ends it.
  def self.serve(plugin)
    require_relative "bkp_plugin/serve" # gRPC takes long to load, and a test of score does not need it
    Serve.run(plugin)
  end

  def self.type_of(value)
    case value
    when true, false then "boolean"
    when Integer then "integer"
    when Float then "number"
    when String then "string"
    when Array then "array"
    when Hash then "object"
    else raise ArgumentError, "a setting of #{value.class}"
    end
  end
end
