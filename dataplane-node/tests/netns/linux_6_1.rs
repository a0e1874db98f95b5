//! The agent on the oldest kernel that is supported: Debian 12's, in a virtual machine.

use crate::machine;

#[test]
fn the_agent_attaches_adopts_and_undoes() {
    machine::run(&[
        "load_balancer::native_and_generic_are_chosen_and_reported",
        "load_balancer::row_39_a_restart_adopts_program_maps_and_counters",
        "load_balancer::a_neighbours_new_mac_reaches_the_map",
        "detaching::row_41_detaching_removes_everything_and_needs_the_agent_stopped",
        "server::vips_and_settings_come_and_go",
        "told_client::programs_see_their_clients_until_nobody_asks_for_it",
    ]);
}

#[test]
fn connections_are_given_to_the_engine() {
    machine::run(&[
        "transparent_listening::whole_prefixes_and_any_port_are_served_and_nothing_stays_behind",
    ]);
}
