//! What the kernel's verifier says to the programs.

use std::collections::BTreeMap;

use aya::{
    Ebpf,
    programs::{Program, ProgramError},
};
use lbfabric_node::object;

use super::kernel::{Sizes, unloaded};

/// The kernel gives up at a million. Kernels differ in how many paths they follow.
const INSTRUCTIONS_MAX: u32 = 500_000;

/// Every program in the objects, whatever its kind, with the number of instructions that the verifier followed.
pub(crate) fn verified() -> BTreeMap<String, u32> {
    let mut packets = unloaded(Sizes::default());
    let mut steering = Ebpf::load(object::steering()).unwrap();
    let mut verified = BTreeMap::new();
    for (name, program) in packets.programs_mut().chain(steering.programs_mut()) {
        if let Err(error) = load(name, program) {
            panic!("{name} was refused: {error:#?}");
        }
        let followed = program.info().unwrap().verified_instruction_count();
        verified.insert(name.to_owned(), followed.unwrap());
    }
    verified
}

fn load(name: &str, program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::Xdp(program) => object::load(program),
        Program::SkLookup(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSockopt(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::SockOps(program) => program.load(),
        other => panic!("{name}: this test has not learnt yet to load {other:?}"),
    }
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "read from the console of another kernel"
)]
fn row_42_every_program_stays_far_from_the_verifiers_limit() {
    let verified = verified();
    for program in [object::LOAD_BALANCER, object::STEERING] {
        assert!(verified.contains_key(program), "{verified:?}");
    }
    for (program, followed) in verified {
        println!("verified {program} {followed}");
        assert!(
            followed < INSTRUCTIONS_MAX,
            "{program}: {followed} instructions"
        );
    }
}
