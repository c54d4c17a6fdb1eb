internal import CZlib

/// The owner of a zlib stream that decompresses gzip, member by member; the only file that speaks
/// to zlib.
@safe package final class GzipInflater {
  /// What a call did.
  package struct Result {
    /// Bytes of the input that were taken.
    package var inputCount: Int
    package var output: [UInt8]
    /// Whether a member ended, with the right checksum.
    package var isMemberEnd: Bool
  }

  private let inflater: OpaquePointer

  package init() throws(UserError) {
    guard let opened = unsafe czlib_open() else {
      throw UserError(.system, "no memory to decompress gzip")
    }
    unsafe inflater = opened
  }

  deinit { unsafe czlib_close(inflater) }

  /// Decompresses as much of `input` as fits.
  ///
  /// - Parameters:
  ///   - input: gzip data that follow what earlier calls took.
  ///   - outputLimit: the most bytes that are made.
  /// - Returns: what was taken and made.
  /// - Throws: ``UserError`` when the data are no gzip, or a checksum is wrong.
  package func inflate(_ input: ArraySlice<UInt8>, outputLimit: Int) throws(UserError) -> Result {
    var status = CZLIB_MORE
    var used = 0
    let output = unsafe [UInt8](unsafeUninitializedCapacity: outputLimit) { room, made in
      unsafe input.withUnsafeBufferPointer { bytes in
        status = unsafe czlib_inflate(
          inflater, bytes.baseAddress, bytes.count, &used, room.baseAddress, room.count, &made)
      }
    }
    switch status {
    case CZLIB_MORE, CZLIB_MEMBER_END: break
    case CZLIB_NO_MEMORY: throw UserError(.system, "no memory to decompress gzip")
    default:
      throw UserError(.badInput, unsafe String(cString: czlib_problem(inflater)))
    }
    return Result(inputCount: used, output: output, isMemberEnd: status == CZLIB_MEMBER_END)
  }

  /// Makes ready for the next member.
  package func reset() throws(UserError) {
    guard unsafe czlib_reset(inflater) == 0 else {
      throw UserError(.system, "cannot go on decompressing gzip")
    }
  }
}
