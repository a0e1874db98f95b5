//! `lbfabric bgp` and `lbfabric vip show` against a fabric that runs: what `docs/bgp.md` says, beside bird. Needs root, for namespaces and the XDP
//! programs, and Debian's package bird2.

#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/pages.rs"]
mod pages;

use namespaces::PLACE;
use pages::{INTERFACE, blocks, file, page, said};

/// The page's router, in a namespace of its own, and a fabric of one controller and one node, which is called `dev`. `until WORDS... -- COMMAND` waits for a line
/// with all of the words.
const SITE: &str = r#"
ip addr add 192.0.2.1/24 dev eth0
unshare --net sleep infinity &
router=$!
until [ "$(readlink /proc/$router/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.05; done
ip link set eth0-peer netns $router
inside() { nsenter --net=/proc/$router/ns/net "$@"; }
inside ip addr add 192.0.2.254/24 dev eth0-peer
inside ip link set eth0-peer up
inside ip link set lo up
PATH=$PATH:/usr/sbin
inside bird -f -c /var/lib/bird.conf -s /var/lib/bird.control > bird.log 2>&1 &
lbfabric dev --interface eth0 > dev.log 2>&1 &
until_said() {
    words=$1
    shift
    for attempt in $(seq 300); do
        if "$@" > said 2>&1 && grep -qE "$words" said; then
            return 0
        fi
        sleep 0.1
    done
    echo "--- $* does not say $words:"
    cat said dev.log bird.log
    return 1
}
"#;

const BIRD: &str = "router id 192.0.2.254;
protocol device {}
protocol bfd { interface \"*\" { interval 50 ms; multiplier 3; }; }
protocol bgp node { local 192.0.2.254 as 65000; neighbor 192.0.2.1 as 65010; bfd on; password \"correct-horse\";
  ipv4 { import all; export where net = 0.0.0.0/0; }; }
protocol static { ipv4; route 0.0.0.0/0 unreachable; }";

#[test]
fn every_command_of_the_page_says_what_there_is() {
    let page = page("bgp.md");
    let mut script = [PLACE, INTERFACE, &file("bird.conf", BIRD), SITE].concat();
    let mut commands = Vec::new();
    for (kind, content) in blocks(&page) {
        match kind {
            "yaml" => {
                let content = content.replace("name: lb1", "name: dev");
                // Nobody serves in here.
                let content = content.replace("min_healthy_servers: 1", "min_healthy_servers: 0");
                script += &file("fabric.yaml", &content);
            }
            "sh" => commands.extend(content.lines()),
            other => panic!("what is a block of {other:?}?"),
        }
    }
    script += &file("pool.yaml", "pools: [{ name: web }]");
    script += "until_said . lbfabric apply -f pool.yaml -f fabric.yaml\n";
    let expected = [
        "^dev +core +192.0.2.254 +65000 +established +up +1/1 ",
        "^dev +core +203.0.113.10/32 .* 65010:100$",
        "^203.0.113.10 +dev +announced +[0-9]+ s +core +-$",
    ];
    assert_eq!(commands.len(), expected.len());
    for (command, words) in commands.iter().zip(expected) {
        script += &["until_said '", words, "' ", command, "\n"].concat();
    }
    // A default route is taken in where it is asked for, and not into the kernel's table.
    script += "
lbfabric bgp neighbors -o wide > said
if grep -F '0.0.0.0/0 via' said; then cat said; exit 1; fi
sed 's/^\\( *\\)bfd: {}/&\\n\\1import_default: true/' fabric.yaml > importing.yaml
grep -q 'import_default: true' importing.yaml
until_said . lbfabric apply -f importing.yaml
until_said '0.0.0.0/0 via 192.0.2.254' lbfabric bgp neighbors -o wide
until_said '\"nextHop\": *\"192.0.2.254\"|\"next_hop\": *\"192.0.2.254\"' lbfabric bgp neighbors -o json
ip route show default > said
if [ -s said ]; then cat said; exit 1; fi
";
    // Why not, for people and for programs.
    script += "sed 's/- name: dev/- name: dev\\n    drained: true/' fabric.yaml > drained.yaml
until_said . lbfabric apply -f drained.yaml
until_said '^203.0.113.10 +dev +leaving ' lbfabric vip show 203.0.113.10
until_said '^203.0.113.10 +dev +withheld .*the node is drained$' lbfabric vip show 203.0.113.10
until_said 'the node is drained' lbfabric vip show 203.0.113.10 -o json
if lbfabric vip show 203.0.113.99; then exit 1; fi
if grep -r correct-horse dev.log; then exit 1; fi
";
    said(&script);
}
