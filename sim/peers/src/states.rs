//! The programs as state machines, under stateright. It walks states, not interleavings.

use stateright::{Checker, Model, Property, StateRecorder};

use crate::exhaustive::Finals;
use crate::program::{Data, Program};

/// Where everybody is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    data: Data,
    /// Critical sections behind each context.
    done: [u8; 3],
    /// The bit that each has, or has seen.
    bit: [u8; 3],
    /// Who has the two locks, for the lock order: 0 is nobody.
    owner: [u8; 2],
}

impl Program {
    /// Critical sections, or takings of a lock, of one context.
    fn sections(self, who: u8) -> u8 {
        match self {
            Self::Bitmap { pairs, .. } => 2 * pairs,
            Self::Buffer { producers, items } if who == producers => producers * items,
            Self::Buffer { items, .. } => items,
            Self::Deadlock => 2,
            Self::CheckThenAct => 4 + u8::from(who == 0),
        }
    }
}

impl State {
    fn over(&self, program: Program) -> bool {
        (0..program.contexts()).all(|who| self.done[usize::from(who)] == program.sections(who))
    }

    fn can(&self, program: Program, who: u8) -> bool {
        let done = self.done[usize::from(who)];
        done < program.sections(who)
            && match program {
                Program::Bitmap { .. } | Program::CheckThenAct => true,
                Program::Buffer { producers, .. } => self.data.full() == (who == producers),
                Program::Deadlock => self.owner[usize::from(who ^ done)] == 0,
            }
    }
}

impl Model for Program {
    type State = State;
    type Action = u8;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<u8>) {
        actions.extend((0..self.contexts()).filter(|&who| state.can(*self, who)));
    }

    fn next_state(&self, last: &State, who: u8) -> Option<State> {
        let mut state = last.clone();
        let at = usize::from(who);
        let done = state.done[at];
        state.done[at] += 1;
        match *self {
            Self::Buffer { producers, .. } if who == producers => state.data.eat(who),
            Self::Buffer { .. } => state.data.put(who),
            Self::Deadlock => {
                state.owner[usize::from(who ^ done)] = who + 1;
                if done == 1 {
                    state.owner = [0; 2];
                }
            }
            Self::CheckThenAct if who == 0 && done == 2 => state.bit[at] = state.data.look(who),
            Self::CheckThenAct if who == 0 && done == 3 => state.data.occupy(who, state.bit[at]),
            Self::CheckThenAct if who == 0 && done == 4 => state.data.give(who, state.bit[at]),
            Self::Bitmap { .. } | Self::CheckThenAct if done % 2 == 0 => state.bit[at] = state.data.take(who),
            Self::Bitmap { .. } | Self::CheckThenAct => state.data.give(who, state.bit[at]),
        }
        if done % 2 == 1 && !matches!(*self, Self::CheckThenAct) || state.done[at] == self.sections(who) {
            // What it had is of no importance any more.
            state.bit[at] = 0;
        }
        state.data = state.data.state();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("sound", |program: &Self, state: &State| {
            let stuck = !state.over(*program) && !(0..program.contexts()).any(|who| state.can(*program, who));
            !stuck && !state.data.twice
        })]
    }
}

/// Walks all states: how many there are, and how many were made.
pub(crate) fn all(program: Program) -> (u64, u64) {
    let checker = program.checker().threads(1).spawn_dfs().join();
    (checker.unique_state_count() as u64, checker.state_count() as u64)
}

/// How many states are made until the bug shows.
pub(crate) fn until_found(program: Program) -> Option<u64> {
    let checker = program.checker().threads(1).spawn_dfs().join();
    checker.discovery("sound").is_some().then(|| checker.state_count() as u64)
}

/// The final states.
pub(crate) fn finals(program: Program) -> Finals {
    let (recorder, states) = StateRecorder::new_with_accessor();
    program.checker().threads(1).visitor(recorder).spawn_dfs().join();
    let mut finals = Finals::default();
    for state in states().iter().filter(|state| state.over(program)) {
        finals.add(&state.data);
    }
    finals
}
