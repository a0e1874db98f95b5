//! The oldest kernel that is supported: Debian 12's, in a virtual machine.

use std::{collections::BTreeMap, fs};

use super::loads;
use crate::machine;

/// Every program, a packet of every mode in each direction, the flow table, ICMP messages of the node's own, and ARP and neighbor discovery.
const TESTS: [&str; 18] = [
    "xdp::loads::row_42_every_program_stays_far_from_the_verifiers_limit",
    "xdp::dnat::the_destination_becomes_the_server",
    "xdp::answers::dnat_answers_take_every_kind_of_route",
    "xdp::fullnat::both_addresses_change_and_a_session_is_made",
    "xdp::answers::fullnat_answers_take_every_kind_of_route",
    "xdp::exact::two_vips_of_one_family_are_answered_as_the_one_that_was_asked",
    "xdp::exact_icmp::row_05_an_error_about_a_clients_packet_names_the_vip_that_was_asked",
    "xdp::dsr::row_22_only_the_macs_change",
    "xdp::tunnel::row_01_row_49_either_family_goes_through_either",
    "xdp::decap::either_family_comes_out_of_either",
    "xdp::client_address::it_stands_before_the_clients_own_options",
    "xdp::told_client::a_nodes_syn_tells_its_client_until_one_without_the_option",
    "xdp::told_client::a_syn_of_any_shape_makes_it_forget",
    "xdp::icmp::row_11_a_vip_answers_echo_and_the_node_answers_for_itself",
    "xdp::icmp_own::row_14_the_node_is_a_hop_where_it_routes",
    "xdp::arp::a_held_vip_is_answered",
    "xdp::neighbor_discovery::a_held_vip_is_answered",
    "xdp::affinity::unknown_flows_in_a_changed_slot_go_to_base_and_stay_there",
];

#[test]
#[expect(clippy::print_stdout, reason = "figures for whoever asks for them")]
fn row_42_programs_load_and_forward() {
    let console = machine::run(&TESTS);
    let verified: BTreeMap<String, u32> = console
        .lines()
        .filter_map(|line| line.strip_prefix("verified ")?.split_once(' '))
        .map(|(program, followed)| (program.to_owned(), followed.parse().unwrap()))
        .collect();
    let here = loads::verified();
    assert!(verified.keys().eq(here.keys()), "{verified:?} {here:?}");
    for (program, followed) in &verified {
        println!(
            "{program}: {followed} verified instructions on Linux 6.1, {} here",
            here[program]
        );
    }
}

/// The documentation's table of options is that of a kernel on which all of the above holds.
#[test]
fn the_kernel_has_the_documented_options() {
    let documentation = include_str!("../../../docs/kernels.md");
    let config = fs::read_to_string(machine::kernel_file("config")).unwrap();
    let mut options = 0;
    for line in documentation.lines() {
        let Some(option) = line.strip_prefix("| `CONFIG_") else {
            continue;
        };
        let name = option.split('`').next().unwrap();
        let set = ["y", "m"].map(|value| format!("CONFIG_{name}={value}"));
        assert!(
            config.lines().any(|line| set.iter().any(|it| it == line)),
            "Linux 6.1 is without CONFIG_{name}"
        );
        options += 1;
    }
    assert!(options >= 5, "the table is not where it was");
}
