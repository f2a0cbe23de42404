# SPDX-License-Identifier: Apache-2.0

require "google/protobuf"
require_relative "descriptors"

# The messages of the contract, as constants: Bkp::Batch is bkp.plugin.v1.Batch.
module Bkp
  pool = Google::Protobuf::DescriptorPool.generated_pool
  DESCRIPTORS.each { |file| pool.add_serialized_file(file.unpack1("m")) }
  MESSAGES.each { |name| const_set(name, pool.lookup("bkp.plugin.v1.#{name}").msgclass) }
end
