//! Measures foca: the cost of one packet, and a ring in virtual time in this one process.
//!
//! Prints one JSON object and ends by itself. The measures have the names of `bench/real_rings.py`
//! where they mean the same; those of the ring start with `ring_`, because foca brings no sockets:
//! its members talk through a queue with 0.3 ms on the way, and only detection times, packets and
//! memory are comparable.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foca::{
    AccumulatingRuntime, Codec, Config, Foca, Header, Member, Message, NoCustomBroadcast,
    OwnedNotification, PostcardCodec, State, Timer,
};
use rand::rngs::StdRng;
use rand::SeedableRng;

type Id = SocketAddrV4;
type Node = Foca<Id, PostcardCodec, StdRng, NoCustomBroadcast>;
type Out = AccumulatingRuntime<Id>;

/// Counts what is allocated, because a crate that allocates nothing per packet should show it.
struct Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        LIVE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        System.alloc(layout)
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        System.dealloc(data, layout)
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        LIVE.fetch_add(size as i64 - layout.size() as i64, Ordering::Relaxed);
        System.realloc(data, layout, size)
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const UPDATES: usize = 6;
const ROUNDS: usize = 5;
const PACKETS: usize = 20_000; // per round; an incarnation has 16 bits, so each round starts anew
const CHUNK: usize = 50; // packets per reading of the clock; the median chunk is the figure
const LATENCY_US: u64 = 300;
const HEADER_BYTES: u64 = 28;
const CRASHES: usize = 5;

fn id(index: usize) -> Id {
    SocketAddrV4::new(
        Ipv4Addr::new(127, 1, (index / 250) as u8, (1 + index % 250) as u8),
        7946,
    )
}

fn index_of(id: &Id) -> usize {
    let [_, _, high, low] = id.ip().octets();
    high as usize * 250 + low as usize - 1
}

fn node(index: usize, members: usize) -> Node {
    let config = Config::new_lan(NonZeroU32::new(members as u32).expect("members > 0"));
    Foca::new(
        id(index),
        config,
        StdRng::seed_from_u64(index as u64),
        PostcardCodec,
    )
}

/// One ping from member 1 to member 0 with six updates about others.
fn packet(number: u8, incarnation: u16) -> Vec<u8> {
    let mut data = Vec::with_capacity(1400);
    let header = Header {
        src: id(1),
        src_incarnation: 0,
        dst: id(0),
        message: Message::Ping(number),
    };
    PostcardCodec
        .encode_header(&header, &mut data)
        .expect("fits");
    data.extend_from_slice(&(UPDATES as u16).to_be_bytes());
    for index in 2..2 + UPDATES {
        let update = Member::new(id(index), incarnation, State::Alive);
        PostcardCodec
            .encode_member(&update, &mut data)
            .expect("fits");
    }
    data
}

struct Report(Vec<(String, Vec<f64>)>);

impl Report {
    fn add(&mut self, name: &str, value: f64) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => values.push(value),
            None => self.0.push((name.to_string(), vec![value])),
        }
    }

    fn print(&self, members: usize) {
        let measures: Vec<String> = self
            .0
            .iter()
            .map(|(name, values)| {
                let all: Vec<String> = values.iter().map(|value| format!("{value:.6}")).collect();
                format!("\"{name}\":[{}]", all.join(","))
            })
            .collect();
        println!(
            "{{\"peer\":\"foca\",\"version\":\"{}\",\"profile\":\"lan\",\"members\":{members},\"measures\":{{{}}},\"notes\":[]}}",
            env!("FOCA_VERSION"),
            measures.join(",")
        );
    }
}

fn measure_packets(report: &mut Report, members: usize) {
    report.add("packet_bytes", packet(1, 1).len() as f64);
    for news in [true, false] {
        let name = if news { "handle" } else { "handle_known" };
        for _ in 0..ROUNDS {
            let mut node = node(0, members);
            let mut out = Out::new();
            let known = (1..members).map(|index| Member::alive(id(index)));
            node.apply_many(known, false, &mut out)
                .expect("no conflict");
            drain(&mut out);
            let packets: Vec<Vec<u8>> = (0..PACKETS)
                .map(|n| packet(n as u8, if news { 1 + n as u16 } else { 0 }))
                .collect();
            let allocations = COUNT.load(Ordering::Relaxed);
            let (mut answered, mut times) = (0, Vec::with_capacity(PACKETS / CHUNK + 1));
            for chunk in packets.chunks(CHUNK) {
                let start = Instant::now();
                for data in chunk {
                    node.handle_data(data, &mut out).expect("a good packet");
                    answered += drain(&mut out);
                }
                times.push(start.elapsed().as_secs_f64() * 1e6 / chunk.len() as f64);
            }
            assert_eq!(answered, PACKETS, "every ping has its ack");
            let per_packet = median(times);
            let allocations = COUNT.load(Ordering::Relaxed) - allocations;
            let suffix = if news { "_packet" } else { "" };
            report.add(&format!("{name}{suffix}_us"), per_packet);
            report.add(
                &format!("{name}{suffix}_allocations"),
                allocations as f64 / PACKETS as f64,
            );
        }
    }
    for _ in 0..ROUNDS {
        let mut times = Vec::with_capacity(PACKETS / CHUNK);
        for _ in 0..PACKETS / CHUNK {
            let start = Instant::now();
            for number in 0..CHUNK {
                std::hint::black_box(packet(number as u8, 1));
            }
            times.push(start.elapsed().as_secs_f64() * 1e6 / CHUNK as f64);
        }
        report.add("build_packet_us", median(times));
    }
}

/// The middle value: a busy machine spoils a mean.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn drain(out: &mut Out) -> usize {
    let mut sent = 0;
    while out.to_send().is_some() {
        sent += 1;
    }
    while out.to_schedule().is_some() {}
    while out.to_notify().is_some() {}
    sent
}

enum Event {
    Packet(Vec<u8>),
    Timer(Timer<Id>),
}

/// A ring in virtual time: the least simulation that shows foca's own timing.
struct Ring {
    now: u64,
    number: u64,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    nodes: Vec<Option<Node>>,
    dead: Vec<(u64, usize, usize)>, // when who saw whom go
    packets: u64,
    bytes: u64,
}

impl Ring {
    fn new(members: usize) -> Ring {
        Ring {
            now: 0,
            number: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            nodes: (0..members)
                .map(|index| Some(node(index, members)))
                .collect(),
            dead: Vec::new(),
            packets: 0,
            bytes: 0,
        }
    }

    fn push(&mut self, due: u64, target: usize, event: Event) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[slot] = Some(event);
        self.number += 1;
        // The target rides in the number's low bits, so that the order stays that of pushing.
        self.queue
            .push(Reverse((due, self.number << 16 | target as u64, slot)));
    }

    fn drain(&mut self, index: usize, out: &mut Out) {
        while let Some((target, data)) = out.to_send() {
            self.packets += 1;
            self.bytes += data.len() as u64 + HEADER_BYTES;
            self.push(
                self.now + LATENCY_US,
                index_of(&target),
                Event::Packet(data.to_vec()),
            );
        }
        while let Some((after, timer)) = out.to_schedule() {
            self.push(
                self.now + after.as_micros() as u64,
                index,
                Event::Timer(timer),
            );
        }
        while let Some(notification) = out.to_notify() {
            if let OwnedNotification::MemberDown(id) = notification {
                self.dead.push((self.now, index, index_of(&id)));
            }
        }
    }

    fn run(&mut self, until: u64, out: &mut Out) {
        while let Some(Reverse((due, key, slot))) = self.queue.peek().copied() {
            if due > until {
                break;
            }
            self.queue.pop();
            self.now = due;
            let index = (key & 0xFFFF) as usize;
            let event = self.events[slot].take().expect("queued once");
            self.free.push(slot);
            if let Some(mut node) = self.nodes[index].take() {
                // An error is a packet or timer that came too late; foca says to go on.
                let _ = match event {
                    Event::Packet(data) => node.handle_data(&data, &mut *out),
                    Event::Timer(timer) => node.handle_timer(timer, &mut *out),
                };
                self.nodes[index] = Some(node);
                self.drain(index, out);
            }
        }
        self.now = until;
    }

    fn view(&self, index: usize) -> usize {
        self.nodes[index]
            .as_ref()
            .map_or(0, |node| node.iter_members().count())
    }
}

fn measure_ring(report: &mut Report, members: usize, deadline: Instant) {
    let mut out = Out::new();
    let before = LIVE.load(Ordering::Relaxed);
    let mut ring = Ring::new(members);
    let start = Instant::now();
    for index in 1..members {
        let mut node = ring.nodes[index].take().expect("just made");
        node.announce(id(0), &mut out).expect("a packet");
        ring.nodes[index] = Some(node);
        ring.drain(index, &mut out);
    }
    let step = 50_000;
    while (0..members).any(|index| ring.view(index) + 1 < members) {
        if Instant::now() > deadline || ring.now > 600_000_000 {
            report.add("ring_join_failed", 1.0);
            return;
        }
        ring.run(ring.now + step, &mut out);
    }
    report.add("ring_join_s", ring.now as f64 / 1e6);
    report.add("ring_join_cpu_s", start.elapsed().as_secs_f64());
    ring.run(ring.now + 20_000_000, &mut out);
    let live = LIVE.load(Ordering::Relaxed) - before;
    report.add(
        "ring_heap_kb_per_member",
        live as f64 / 1024.0 / members as f64,
    );
    let (packets, bytes, start) = (ring.packets, ring.bytes, Instant::now());
    let seconds = 60.0;
    ring.run(ring.now + (seconds * 1e6) as u64, &mut out);
    let per_member = seconds * members as f64;
    report.add(
        "ring_steady_packets_per_member_s",
        (ring.packets - packets) as f64 / per_member,
    );
    report.add(
        "ring_steady_bytes_per_member_s",
        (ring.bytes - bytes) as f64 / per_member,
    );
    report.add(
        "ring_steady_cpu_ms_per_member_s",
        start.elapsed().as_secs_f64() * 1e3 / per_member,
    );
    for round in 0..CRASHES {
        ring.run(ring.now + 10_000_000 + 137_000 * round as u64, &mut out);
        let victim = (members / 2 + 7 * round) % members;
        let (start, seen) = (ring.now, ring.dead.len());
        ring.nodes[victim] = None;
        let survivors = ring.nodes.iter().filter(|node| node.is_some()).count();
        let mut last = 0;
        while ring.now < start + 120_000_000 {
            ring.run(ring.now + step, &mut out);
            let told: Vec<u64> = ring.dead[seen..]
                .iter()
                .filter(|(_, _, whom)| *whom == victim)
                .map(|(t, _, _)| t - start)
                .collect();
            if told.len() >= survivors {
                last = *told.iter().max().expect("not empty");
                break;
            }
        }
        let seconds = if last > 0 {
            Duration::from_micros(last).as_secs_f64()
        } else {
            120.0
        };
        report.add("ring_crash_all_know_s", seconds);
    }
}

fn main() {
    let members: usize = std::env::args()
        .nth(1)
        .map_or(100, |n| n.parse().expect("a number"));
    assert!(
        (8..=10_000).contains(&members),
        "members is {members}, bounds are 8..10000"
    );
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut report = Report(Vec::new());
    measure_packets(&mut report, members);
    measure_ring(&mut report, members, deadline);
    report.print(members);
}
