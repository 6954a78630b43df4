//! The programs on threads and locks, word by word the same for shuttle and loom.

macro_rules! threads {
    ($library:ident) => {
        use std::sync::Arc;

        use $library::sync::{Condvar, Mutex};
        use $library::thread;

        use crate::program::{Data, Program};

        /// One run; what the lock protects at its end.
        pub(crate) fn perform(program: Program) -> Data {
            let world = Arc::new((Mutex::new(Data::default()), Mutex::new(()), Condvar::new()));
            let mut threads = Vec::new();
            for who in 0..program.contexts() {
                let world = Arc::clone(&world);
                threads.push(thread::spawn(move || context(program, who, &world)));
            }
            for thread in threads {
                thread.join().unwrap();
            }
            let data = world.0.lock().unwrap();
            *data
        }

        fn context(program: Program, who: u8, world: &(Mutex<Data>, Mutex<()>, Condvar)) {
            let (data, other, changed) = world;
            match program {
                Program::Bitmap { .. } | Program::CheckThenAct => {
                    for pair in 0..program.pairs() {
                        let bit = if program.looks_first(who, pair) {
                            let bit = data.lock().unwrap().look(who);
                            data.lock().unwrap().occupy(who, bit);
                            bit
                        } else {
                            data.lock().unwrap().take(who)
                        };
                        data.lock().unwrap().give(who, bit);
                    }
                }
                Program::Buffer { producers, items } => {
                    let consumes = who == producers;
                    for _ in 0..if consumes { producers * items } else { items } {
                        let mut data = data.lock().unwrap();
                        while data.full() != consumes {
                            data = changed.wait(data).unwrap();
                        }
                        if consumes {
                            data.eat(who);
                        } else {
                            data.put(who);
                        }
                        changed.notify_all();
                    }
                }
                Program::Deadlock if who == 0 => {
                    let _first = data.lock().unwrap();
                    let _second = other.lock().unwrap();
                }
                Program::Deadlock => {
                    let _first = other.lock().unwrap();
                    let _second = data.lock().unwrap();
                }
            }
        }
    };
}

pub(crate) use threads;
