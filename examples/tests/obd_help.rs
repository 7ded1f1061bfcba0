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
fn every_verb_is_listed_with_a_line() {
    let help = Obd::new().text("help");
    for verb in ["info", "verify", "cat", "resolve", "pull", "registry", "bench", "bench-lookup"] {
        let line = help.lines().find(|line| line.trim_start().starts_with(&format!("{verb} "))).unwrap();
        assert!(line.trim_start().len() > verb.len() + 20, "{line}");
        let own = Obd::new().text(&format!("help {verb}"));
        assert!(own.contains("Example: obd ") && own.contains("JSON keys"), "{own}");
        assert!(own.lines().all(|line| line.chars().count() <= 100), "{own}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 110), "{help}");
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
