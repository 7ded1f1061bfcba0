//! Flights, budgets and the ledger of the disk under every order that a random scheduler finds.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p lazy-fetch --no-default-features --lib models`

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use shuttle::{future, thread};

use crate::flight::{Flights, Joined};
use crate::gate::Gate;
use crate::source::{Priority, Urgency};
use crate::store::ChunkKey;
use crate::store::disk_ledger::{Held, Ledger};
use crate::sync::{Mutex, lock};
use crate::{BlobId, ErrorKind};

fn key() -> ChunkKey {
    ChunkKey { blob: BlobId::new("b").unwrap(), offset: 0, len: 3 }
}

/// Runs `model` in many orders.
fn check(model: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(model, 2000);
}

#[test]
fn one_of_three_readers_fetches_and_all_get_the_chunk() {
    check(|| {
        let (flights, stored, fetches) =
            (Arc::<Flights>::default(), Arc::new(Mutex::new(None)), Arc::new(Mutex::new(0)));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (flights, stored, fetches) =
                    (Arc::clone(&flights), Arc::clone(&stored), Arc::clone(&fetches));
                thread::spawn(move || {
                    let urgency = Urgency::new(Priority::OnDemand);
                    let chunk = match flights.join(&key(), &urgency, None, || lock(&stored).clone()) {
                        Joined::Here(chunk) => chunk,
                        Joined::Under(flight) => future::block_on(flight.chunk()).unwrap(),
                        Joined::New(flight, landing) => {
                            *lock(&fetches) += 1;
                            let chunk = Bytes::from_static(b"abc");
                            *lock(&stored) = Some(chunk.clone());
                            landing.land(Ok(chunk));
                            future::block_on(flight.chunk()).unwrap()
                        }
                    };
                    assert_eq!(chunk, "abc");
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(*lock(&fetches), 1);
    });
}

#[test]
fn readers_of_a_task_that_dies_are_woken_and_the_way_is_free() {
    check(|| {
        let flights = Arc::<Flights>::default();
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let flights = Arc::clone(&flights);
                thread::spawn(move || {
                    let urgency = Urgency::new(Priority::OnDemand);
                    match flights.join(&key(), &urgency, None, || None) {
                        Joined::Here(_) => panic!("nothing was stored"),
                        Joined::Under(flight) => {
                            assert_eq!(
                                future::block_on(flight.chunk()).unwrap_err().kind(),
                                ErrorKind::Closed
                            );
                        }
                        Joined::New(_, landing) => drop(landing),
                    }
                })
            })
            .collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        let urgency = Urgency::new(Priority::OnDemand);
        assert!(matches!(flights.join(&key(), &urgency, None, || None), Joined::New(..)));
    });
}

#[test]
fn everybody_gets_through_the_gate_and_never_too_many_at_once() {
    check(|| {
        let (gate, inside) = (Gate::new(4), Arc::new(Mutex::new(0)));
        let kinds = [Priority::Background, Priority::Prefetch, Priority::OnDemand];
        let urgencies: Vec<_> = kinds.into_iter().map(Urgency::new).collect();
        let raised = urgencies.clone();
        let raiser =
            thread::spawn(move || raised.iter().for_each(|urgency| urgency.raise(Priority::OnDemand)));
        let users: Vec<_> = urgencies
            .into_iter()
            .map(|urgency| {
                let (gate, inside) = (Arc::clone(&gate), Arc::clone(&inside));
                thread::spawn(move || {
                    for _ in 0..2 {
                        let permit = future::block_on(gate.enter(3, &urgency)).unwrap();
                        *lock(&inside) += 1;
                        assert_eq!(*lock(&inside), 1, "two of three do not fit four");
                        *lock(&inside) -= 1;
                        drop(permit);
                    }
                })
            })
            .collect();
        users.into_iter().for_each(|user| user.join().unwrap());
        raiser.join().unwrap();
        assert_eq!((gate.used(), gate.waiting()), (0, 0));
    });
}

#[test]
fn the_ledger_keeps_its_limit_and_its_sums_whoever_writes() {
    check(|| {
        let (ledger, blob) = (Arc::new(Mutex::new(Ledger::new(2 * 4096))), BlobId::new("b").unwrap());
        let writers: Vec<_> = (0..3u64)
            .map(|writer| {
                let (ledger, blob) = (Arc::clone(&ledger), blob.clone());
                thread::spawn(move || {
                    // Two write the same chunk, each its own bytes; one gives up after the reservation.
                    let (offset, held) = (writer / 2, Held { len: 4096, crc: writer as u32 });
                    for round in 0..2 {
                        let reserved = lock(&ledger).reserve(&blob, offset, held);
                        if reserved.is_none() {
                            continue;
                        }
                        if (writer, round) == (1, 0) {
                            lock(&ledger).release(held);
                        } else {
                            lock(&ledger).insert(&blob, offset, held);
                        }
                        assert!(
                            lock(&ledger).touch(&ChunkKey { blob: blob.clone(), offset, len: 1 }).is_none()
                        );
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let ledger = lock(&ledger);
        let held: HashSet<u64> = ledger.all().into_iter().map(|key| key.offset).collect();
        assert_eq!((ledger.bytes(), ledger.count(&blob)), (held.len() as u64 * 4096, held.len() as u64));
        assert!(!held.is_empty() && ledger.bytes() <= 2 * 4096);
    });
}
