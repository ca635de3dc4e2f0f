use jiff::Timestamp;
use proptest::prelude::*;
use strongroom_layout::ObjectId;

use crate::format::{
    FormatError,
    node::{Node, NodeKind, Tree},
};

/// Written by restic 0.14.0, except that the symlink's raw target is as
/// restic 0.16 would write it.
pub(crate) const RESTIC: &str = concat!(
    r#"{"nodes":[{"name":"a\u003cb\u0026","type":"file","mode":420,"mtime":"2026-11-21T02:47:53.931959203Z","atime":"2026-11-21T02:47:53.931959203Z","ctime":"2026-11-21T02:47:53.931959203Z","uid":0,"gid":0,"user":"root","group":"root","inode":10019044,"device_id":65024,"links":1,"content":[]},"#,
    r#"{"name":"d","type":"dir","mode":2148532717,"mtime":"2026-11-21T02:47:53.944243248Z","atime":"2026-11-21T02:47:53.944243248Z","ctime":"2026-11-21T02:47:53.944243248Z","uid":0,"gid":0,"user":"root","group":"root","inode":10018995,"device_id":65024,"content":null,"subtree":"31b6da4c98a5639633e72729ad8238b6703e5ecf313f211bc76f9d4fe2ac2ba8"},"#,
    r#"{"name":"data","type":"file","mode":8389092,"mtime":"2026-11-21T02:47:53.944243248Z","atime":"2026-11-21T02:47:53.944243248Z","ctime":"2026-11-21T02:47:53.944243248Z","uid":1000,"gid":7,"inode":10020389,"device_id":65024,"size":5000,"links":2,"extended_attributes":[{"name":"user.a","value":"AQI="},{"name":"user.b","value":""}],"content":["59a99bcf1072d88e2ad7fd26866e28243354390370684b747cf7c51ec1e25cd8"]},"#,
    r#"{"name":"f","type":"fifo","mode":33554852,"mtime":"2026-11-21T02:47:53.935959203Z","atime":"2026-11-21T02:47:53.935959203Z","ctime":"2026-11-21T02:47:53.935959203Z","uid":0,"gid":0,"user":"root","group":"root","inode":10020388,"device_id":65024,"content":null},"#,
    r#"{"name":"l","type":"symlink","mode":134218239,"mtime":"2026-11-21T02:47:53.93Z","atime":"2026-11-21T02:47:53Z","ctime":"2026-11-21T02:47:53.935959203Z","uid":0,"gid":0,"user":"root","group":"root","inode":10020387,"device_id":65024,"links":1,"linktarget":"f\ufffd","linktarget_raw":"Zv8=","content":null},"#,
    r#"{"name":"n\\xff\\u200bä","type":"chardev","mode":69206454,"mtime":"2026-11-21T02:47:53.944243248Z","atime":"2026-11-21T02:47:53.944243248Z","ctime":"2026-11-21T02:47:53.944243248Z","uid":0,"gid":0,"user":"root","group":"root","inode":10020390,"device_id":65024,"links":1,"device":259,"content":null}]}"#,
    "\n",
);

#[test]
fn trees_of_restic_come_back_byte_for_byte() {
    let tree = Tree::decode(RESTIC.as_bytes()).unwrap();
    let names: Vec<_> = tree.nodes.iter().map(|node| &node.name[..]).collect();
    let last = "n\u{200b}ä".as_bytes();
    let last = [&b"n\xff"[..], &last[1..]].concat();
    assert_eq!(names, [b"a<b&", &b"d"[..], b"data", b"f", b"l", &last]);
    assert_eq!(tree.nodes[1].mode, 0o1755);
    assert_eq!(tree.nodes[2].mode, 0o4744);
    assert_eq!(
        tree.nodes[4].kind,
        NodeKind::Symlink {
            target: b"f\xff".to_vec()
        }
    );
    let json = String::from_utf8(tree.encode().unwrap()).unwrap();
    assert_eq!(json, RESTIC);
}

#[test]
fn an_empty_tree_is_written_as_restic_does() {
    assert_eq!(Tree::default().encode().unwrap(), b"{\"nodes\":[]}\n");
    for json in [r#"{"nodes":[]}"#, r#"{"nodes":null}"#] {
        assert_eq!(Tree::decode(json.as_bytes()).unwrap(), Tree::default());
    }
}

fn named(name: &str) -> String {
    format!(r#"{{"name":"{name}","type":"fifo"}}"#)
}

fn listing(nodes: &[String]) -> String {
    format!(r#"{{"nodes":[{}]}}"#, nodes.join(","))
}

#[test]
fn names_that_lead_astray_are_refused() {
    for name in [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "..\\x2fa",
        "a\\x00",
        "a\\u002fb",
        "a\\",
        "\\'",
    ] {
        let name = serde_json::to_string(name).unwrap();
        let json = listing(&[named(name.trim_matches('"'))]);
        Tree::decode(json.as_bytes()).unwrap_err();
    }
}

#[test]
fn any_order_is_read_but_no_name_twice() {
    let json = listing(&[named("b"), named("a")]);
    let tree = Tree::decode(json.as_bytes()).unwrap();
    assert_eq!(tree.nodes[0].name, b"a");
    // The same name, quoted in two ways.
    for twin in ["a", "\\\\x61"] {
        let json = listing(&[named("a"), named("b"), named(twin)]);
        let error = Tree::decode(json.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("twice"), "{error}");
    }
}

#[test]
fn sockets_are_left_out_and_unknown_types_refused() {
    let socket = r#"{"name":"s","type":"socket"}"#.to_owned();
    let json = listing(&[named("a"), socket]);
    assert_eq!(Tree::decode(json.as_bytes()).unwrap().nodes.len(), 1);
    let whiteout = r#"{"name":"w","type":"whiteout"}"#.to_owned();
    let error = Tree::decode(listing(&[whiteout]).as_bytes()).unwrap_err();
    assert!(
        error.to_string().contains("node \"w\": unknown type"),
        "{error}"
    );
}

fn fifo(name: &[u8]) -> Node {
    Node {
        name: name.to_vec(),
        kind: NodeKind::Fifo,
        mode: 0o600,
        mtime: Timestamp::UNIX_EPOCH,
        atime: Timestamp::UNIX_EPOCH,
        ctime: Timestamp::UNIX_EPOCH,
        uid: 0,
        gid: 0,
        user: String::new(),
        group: String::new(),
        inode: 0,
        device_id: 0,
        links: 0,
        xattrs: Vec::new(),
    }
}

/// Trees of files without it are as restic writes them.
#[test]
fn a_file_whose_zeros_were_no_holes_says_so() {
    let file = |device: &str| {
        format!(
            "{{\"nodes\":[{{\"name\":\"f\",\"type\":\"file\",\"mode\":420,\
             \"mtime\":\"2026-11-21T02:47:53Z\",\"atime\":\"2026-11-21T02:47:53Z\",\
             \"ctime\":\"2026-11-21T02:47:53Z\",\"uid\":0,\"gid\":0{device},\"content\":[]}}]}}\n"
        )
    };
    for (device, expected) in [("", false), (",\"device\":1", true)] {
        let json = file(device);
        let tree = Tree::decode(json.as_bytes()).unwrap();
        assert!(matches!(
            tree.nodes[0].kind,
            NodeKind::File { allocated, .. } if allocated == expected
        ));
        assert_eq!(String::from_utf8(tree.encode().unwrap()).unwrap(), json);
    }
}

#[test]
fn impossible_trees_are_not_written() {
    for names in [
        &[&b"b"[..], b"a"][..],
        &[b"a", b"a"],
        &[b""],
        &[b"."],
        &[b".."],
        &[b"a/b"],
        &[b"a\0"],
    ] {
        let tree = Tree {
            nodes: names.iter().map(|name| fifo(name)).collect(),
        };
        assert!(matches!(tree.encode(), Err(FormatError::Invalid { .. })));
    }
}

fn kinds() -> impl Strategy<Value = NodeKind> {
    let id = || any::<[u8; 32]>().prop_map(ObjectId);
    prop_oneof![
        (
            any::<u64>(),
            prop::collection::vec(id(), 0..4),
            any::<bool>()
        )
            .prop_map(|(size, content, allocated)| NodeKind::File {
                size,
                content,
                allocated
            }),
        prop::option::of(id()).prop_map(|subtree| NodeKind::Dir { subtree }),
        any::<Vec<u8>>().prop_map(|target| NodeKind::Symlink { target }),
        any::<u64>().prop_map(|device| NodeKind::BlockDevice { device }),
        any::<u64>().prop_map(|device| NodeKind::CharDevice { device }),
        Just(NodeKind::Fifo),
    ]
}

fn times() -> impl Strategy<Value = Timestamp> {
    (-60_000_000_000_i64..250_000_000_000, 0..1_000_000_000)
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
}

fn nodes() -> impl Strategy<Value = Node> {
    let name = any::<Vec<u8>>().prop_map(|mut name| {
        name.retain(|byte| !matches!(byte, 0 | b'/'));
        name.insert(0, b'n');
        name
    });
    let xattrs = prop::collection::vec((any::<String>(), any::<Vec<u8>>()), 0..3);
    let numbers = any::<(u32, u32, u64, u64, u64)>();
    let words = any::<(String, String)>();
    (
        name,
        kinds(),
        0..0o10000_u32,
        (times(), times(), times()),
        numbers,
        words,
        xattrs,
    )
        .prop_map(
            |(
                name,
                kind,
                mode,
                (mtime, atime, ctime),
                (uid, gid, inode, device_id, links),
                (user, group),
                xattrs,
            )| {
                Node {
                    name,
                    // Directories carry no link count.
                    links: if matches!(kind, NodeKind::Dir { .. }) {
                        0
                    } else {
                        links
                    },
                    kind,
                    mode,
                    mtime,
                    atime,
                    ctime,
                    uid,
                    gid,
                    user,
                    group,
                    inode,
                    device_id,
                    xattrs: xattrs
                        .into_iter()
                        .map(|(name, value)| (name.into_bytes(), value))
                        .collect(),
                }
            },
        )
}

proptest! {
    #[test]
    fn trees_round_trip(nodes in prop::collection::vec(nodes(), 0..6)) {
        let mut nodes = nodes;
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes.dedup_by(|a, b| a.name == b.name);
        let tree = Tree { nodes };
        let json = tree.encode().unwrap();
        prop_assert_eq!(Tree::decode(&json).unwrap(), tree);
    }

    #[test]
    fn truncated_trees_are_refused(nodes in prop::collection::vec(nodes(), 1..2), cut: prop::sample::Index) {
        let json = Tree { nodes }.encode().unwrap();
        // Without the line feed it is still whole.
        let cut = cut.index(json.len() - 1);
        prop_assert!(Tree::decode(&json[..cut]).is_err());
    }
}
