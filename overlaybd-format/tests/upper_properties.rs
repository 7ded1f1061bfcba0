//! Any sequence of operations leaves a writable device as a plain map of sectors says, and any crash
//! leaves it in a state that it had since the last flush.

use proptest::prelude::*;

use crate::disk::Disk;
use crate::world::{Kind, Op, World};

#[path = "harness/disk.rs"]
mod disk;
#[path = "harness/faults.rs"]
mod faults;
#[path = "harness/world.rs"]
mod world;

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::AppendOnly), Just(Kind::Sparse)]
}

fn op() -> impl Strategy<Value = Op> {
    let range = (0..256_u64, prop_oneof![4 => 1..20_u64, 1 => 1..120_u64]);
    prop_oneof![
        20 => range.clone().prop_map(|(start, len)| Op::Write { start, len }),
        10 => range.prop_map(|(start, len)| Op::Discard { start, len }),
        4 => Just(Op::Flush),
        2 => kind().prop_map(Op::Snapshot),
        1 => Just(Op::Restack),
        2 => (1..256_u64).prop_map(Op::Resize),
        2 => Just(Op::Compact),
        2 => Just(Op::Reopen),
        3 => Just(Op::Crash),
    ]
}

proptest! {
    // 1,024 cases of 128 operations on average.
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn operations_are_as_a_map_of_sectors_says(
        kind in kind(),
        size in 1..200_u64,
        on_base in any::<bool>(),
        seed in any::<u64>(),
        ops in prop::collection::vec(op(), 1..256),
    ) {
        // A snapshot may put a sparse layer on top.
        let mut world = World::new(Disk::new(seed, World::tearing(Kind::Sparse)), kind, size, on_base);
        for op in ops {
            world.apply(world.fit(op)).unwrap();
        }
        world.check();
    }
}
