//! The help of the toolbox: each verb is there, with an example and the keys of what it says.

#[path = "support/golden.rs"]
mod golden;
#[path = "support/help.rs"]
mod help;
#[path = "support/obd.rs"]
mod obd;

use help::assert_documented;
use obd::Obd;

#[test]
fn every_verb_has_a_line_and_a_help_of_its_own() {
    let help = Obd::new().text("help");
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut verbs = Vec::new();
    for line in list.lines() {
        let (verb, about) = line.trim().split_once(' ').unwrap_or_else(|| panic!("nothing of {line}"));
        assert!(about.trim().len() > 20 && line.chars().count() <= 110, "{line}");
        verbs.push(verb);
    }
    assert_eq!(verbs.pop(), Some("help"));
    for verb in ["info", "verify", "cat", "resolve", "pull", "registry", "bench", "bench-lookup"] {
        assert!(verbs.contains(&verb), "{verb} in {help}");
    }
    for verb in verbs {
        let own = Obd::new().text(&format!("help {verb}"));
        assert!(own.contains(&format!("Example: obd {verb} ")) && own.contains("JSON keys"), "{own}");
        assert!(own.lines().all(|line| line.chars().count() <= 100), "{own}");
    }
}

#[test]
fn what_local_verbs_say_is_documented() {
    let obd = Obd::new();
    golden::unpack("stack", &obd.path(""));
    golden::unpack("zfile-raw", &obd.path(""));
    assert_documented("info", &[obd.said("info L0.obd"), obd.said("info z.lz4.4k")]);
    assert_documented("verify", &[obd.said("verify L0.obd")]);
    assert_documented("cat", &[obd.said("cat L0.obd -o out")]);
    assert_documented("bench", &[obd.said("bench L0.obd --open --seconds 0.01")]);
    assert_documented("bench-lookup", &[obd.said("bench-lookup --segments 9 --seconds 0.01")]);
}
