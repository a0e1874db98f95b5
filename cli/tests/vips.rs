//! Every command of `docs/vips.md`, in its order, with a controller and two nodes. Needs root, for namespaces and the XDP programs, and the daemons beside
//! `lbfabric` in the target folder: `make test` builds them first.

#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/pages.rs"]
mod pages;

use namespaces::PLACE;
use pages::{blocks, file, page, said};

/// A bridge with the controller on it, two nodes, and what tells that they are there.
const SITE: &str = r#"
cd /var/lib
mount -t tmpfs tmpfs /run
ip link add br0 type bridge
ip addr add 10.77.2.1/24 dev br0
ip link set br0 up
export LBFABRIC_CONTROLLER=10.77.2.1:7400
lbfabric-controller --id 1 --data-dir controller --listen 10.77.2.1:7400 --member 1=10.77.2.1:7400 --plaintext > controller.log 2>&1 &
for n in 1 2; do
    ip netns add lb$n
    ip -n lb$n link set lo up
    ip -n lb$n link add eth0 type veth peer name lb$n netns $$
    ip -n lb$n addr add 10.77.2.1$n/24 dev eth0
    ip -n lb$n link set eth0 up
    ip link set lb$n master br0 up
    nsenter --net=/run/netns/lb$n lbfabric-node --name lb$n --interface eth0 --xdp-mode generic \
        --controller 10.77.2.1:7400 --ring-slots 16384 --nat-flows 1024 > lb$n.log 2>&1 &
done
soon() {
    for attempt in $(seq 300); do
        if eval "$1" > /dev/null 2>&1; then
            return 0
        fi
        sleep 0.1
    done
    echo "not so: $1"
    lbfabric vip list -o json
    cat controller.log lb1.log lb2.log
    return 1
}
both() {
    soon 'lbfabric vip list -o json | jq -e "[.nodes[] | select(.live)] | length == 2"'
}
vip() {
    soon "lbfabric vip show 10.77.2.80 -o json | jq -e '$1'"
}
"#;

/// What each command leads to.
fn effect(command: &str) -> &'static str {
    let words: Vec<_> = command.split(' ').skip(1).collect();
    match words[..] {
        ["apply", ..] => "both\nvip '.state == \"served\" and .services == [\"shop\"]'\n",
        ["vip", "list" | "show", ..] => "",
        ["vip", "move", _, "lb2"] => "vip '.owner == \"lb2\" and .state == \"served\"'\n",
        ["vip", "pin", _, "lb1"] => {
            "vip '.owner == \"lb1\" and .state == \"served\" and .pinned_to == \"lb1\"'\n"
        }
        ["vip", "unpin", _] => "vip '.pinned_to == \"\"'\n",
        ["vip", "drain", _] => "vip '.state == \"drained\" and .owner == \"\"'\n",
        ["vip", "undrain", _] => "vip '.state == \"served\"'\n",
        ["node", "drain", "lb1", ..] => {
            "vip '.owner == \"lb2\"'\nlbfabric vip list -o json | jq -e '.nodes[0].drained'\n"
        }
        ["node", "undrain", "lb1"] => {
            "lbfabric vip list -o json | jq -e '.nodes[0].drained | not'\n"
        }
        _ => panic!("what does `{command}` lead to?"),
    }
}

#[test]
fn every_command_of_the_page_does_what_it_says() {
    let page = page("vips.md");
    let mut script = [PLACE, SITE].concat();
    let mut count = 0;
    script.push_str("soon 'lbfabric get'\n");
    for (kind, block) in blocks(&page) {
        match kind {
            "yaml" => script.push_str(&file("shop.yaml", block)),
            "sh" => {
                for command in block.lines() {
                    count += 1;
                    let echo = ["echo '$ ", command, "'\n", command, "\n"].concat();
                    script.push_str(&echo);
                    script.push_str(effect(command));
                }
            }
            other => panic!("a block of kind {other}"),
        }
    }
    assert_eq!(count, 10);
    let out = said(&script);
    for told in ["10.77.2.80  served", "owner    lb", "node lb1 is drained"] {
        assert!(out.contains(told), "{told}\n{out}");
    }
}
