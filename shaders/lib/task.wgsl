// One launch serves several operations of the same shape ("tasks"), each on its own blocks of channels.

const MAX_TASKS: u32 = 16u;

// backward: a block of channels of x, and the tasks whose gradients are added there.
struct Source {
    channel: u32,
    first: u32,  // task
    n: u32,      // tasks
    add: u32,    // 1 to add to what dx holds
}
