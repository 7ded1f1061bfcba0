//! Which chunks to keep in memory: the least recently used order of `MemoryStore` beside a policy that is made to
//! withstand scans. No times: the share of reads that find their chunk, for each size of the memory.
//!
//! A start reads parts of many files; a second one reads the same, after a scan of as many bytes as the whole blob
//! has. What a scan does to a policy depends on the size of its reads: whoever reads in pieces smaller than a chunk
//! comes back to each chunk at once, and looks to a counter of uses like a reader who comes back later.

use std::num::NonZeroUsize;

use benches::random::Random;
use lru::LruCache;
use quick_cache::unsync::Cache;

const CHUNK: u64 = 64 << 10;
const BLOB: u64 = 512 << 20;

/// Offsets of reads of `len` bytes: parts of files, woven together as four readers do.
fn start(len: u64) -> Vec<u64> {
    let mut random = Random::new(7);
    let mut readers = vec![Vec::new(); 4];
    for reader in &mut readers {
        for _ in 0..150 {
            let (at, bytes) = (random.below(BLOB / 4096 - 256) * 4096, 4096 << random.below(9));
            let visits = 1 + random.below(3);
            reader.extend((0..visits).flat_map(|_| (at..at + bytes).step_by(len as usize)));
        }
    }
    let longest = readers.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|i| readers.iter().filter_map(move |reader| reader.get(i).copied())).collect()
}

/// A memory of so many chunks; says whether the chunk was in it, where it is afterwards.
trait Memory {
    fn read(&mut self, chunk: u64) -> bool;
}

impl Memory for LruCache<u64, ()> {
    fn read(&mut self, chunk: u64) -> bool {
        self.get(&chunk).is_some() || self.put(chunk, ()).is_some()
    }
}

impl Memory for Cache<u64, ()> {
    fn read(&mut self, chunk: u64) -> bool {
        let is_here = self.get(&chunk).is_some();
        if !is_here {
            self.insert(chunk, ());
        }
        is_here
    }
}

/// Chunks that the second start has to fetch, for each hundred that it touches.
fn fetched_again(mut memory: impl Memory, len: u64, scan: bool) -> f64 {
    let reads = start(len);
    for at in &reads {
        memory.read(at / CHUNK);
    }
    if scan {
        (0..BLOB).step_by(len as usize).for_each(|at| {
            memory.read(at / CHUNK);
        });
    }
    let misses = reads.iter().filter(|at| !memory.read(*at / CHUNK)).count();
    let touched: std::collections::HashSet<_> = reads.iter().map(|at| at / CHUNK).collect();
    misses as f64 * 100.0 / touched.len() as f64
}

fn main() {
    let touched: std::collections::HashSet<_> = start(4096).into_iter().map(|at| at / CHUNK).collect();
    println!(
        "chunks fetched again by a second start, of a hundred that it touches ({} in all)",
        touched.len()
    );
    println!("reads   memory   scan   least recently used   quick_cache");
    for len in [4 << 10, 64 << 10] {
        for percent in [25, 50, 75, 100, 125] {
            let chunks = touched.len() * percent / 100;
            for scan in [false, true] {
                let lru = fetched_again(LruCache::new(NonZeroUsize::new(chunks).unwrap()), len, scan);
                let quick = fetched_again(Cache::new(chunks), len, scan);
                println!("{:>2} KiB  {percent:>5} %  {scan:>5}   {lru:>19.0}   {quick:>11.0}", len >> 10);
            }
        }
    }
}
