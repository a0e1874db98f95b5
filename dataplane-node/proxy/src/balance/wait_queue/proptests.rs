use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Join(Option<u8>),
    Room(u8, bool),
    Leave(usize),
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        proptest::option::of(0u8..4).prop_map(Event::Join),
        (0u8..4, any::<bool>()).prop_map(|(server, is_open)| Event::Room(server, is_open)),
        (0usize..100).prop_map(Event::Leave),
    ]
}

proptest! {
    /// Against a plain list: nobody is lost, told twice or passed over.
    #[test]
    fn who_has_waited_longest_is_next(limit in 0u32..10, events in vec(events(), 1..200)) {
        let mut queue = WaitQueue::new();
        let mut list: Vec<(usize, Option<u8>)> = Vec::new();
        let mut tickets: Vec<Ticket> = Vec::new();
        for event in events {
            match event {
                Event::Join(wants) => {
                    let number = tickets.len();
                    let ticket = queue.join(wants, number, limit);
                    prop_assert_eq!(ticket.is_some(), list.len() < limit as usize);
                    if let Some(ticket) = ticket {
                        tickets.push(ticket);
                        list.push((number, wants));
                    }
                }
                Event::Room(server, is_open) => {
                    let at = list.iter().position(|(_, wants)| match wants {
                        Some(wants) => *wants == server,
                        None => is_open,
                    });
                    let expected = at.map(|at| list.remove(at).0);
                    prop_assert_eq!(queue.next_for(&server, |_| is_open), expected);
                }
                Event::Leave(number) => {
                    if let Some(ticket) = tickets.get(number) {
                        let at = list.iter().position(|(other, _)| *other == number);
                        at.map(|at| list.remove(at));
                        prop_assert_eq!(queue.leave(*ticket), at.is_some());
                    }
                }
            }
            prop_assert_eq!(queue.len(), list.len());
        }
    }
}
