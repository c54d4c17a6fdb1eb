import DistributedTraining
import Support
import Testing

@Suite struct SoloGroupTests {
  @Test func everyCollectiveIsRightAlone() throws {
    let group = try Rendezvous.start(environment: [:])
    #expect(group is SoloGroup)
    try CollectiveCheck(group).run()
    #expect(group.bytesSent == 0)
  }

  @Test func aBrokenLibraryIsNamed() {
    let error = #expect(throws: UserError.self) {
      try Rendezvous.start(environment: [
        "OMPI_COMM_WORLD_SIZE": "2", "ACCELERATE_MPI_LIB": "/nonexistent/libmpi.so.40",
      ])
    }
    #expect(error?.description.contains("/nonexistent/libmpi.so.40") == true)
    #expect(error?.description.contains("fix: apt-get install") == true)
  }

  @Test func aLibraryThatIsNotMPIIsRefused() {
    let error = #expect(throws: UserError.self) {
      try Rendezvous.start(environment: [
        "OMPI_COMM_WORLD_SIZE": "2", "ACCELERATE_MPI_LIB": "/lib/x86_64-linux-gnu/libm.so.6",
      ])
    }
    #expect(error?.description.contains("libm.so.6: ") == true)
  }
}
