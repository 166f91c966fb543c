/* Answers `cpuid` as a CPU with AVX2 and nothing newer does, in a process whose `cpuid` instructions were replaced.
 *
 * `avx2_only.py` compiles it, and loads it (LD_PRELOAD) beside a copy of ONNX Runtime with `ud2` in their places, which
 * raises SIGILL. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <ucontext.h>

enum { UD2_BYTES = 2, EXTENDED_FEATURES = 7 };
/* Of EBX of leaf 7: FSGSBASE, BMI1, AVX2, SMEP, BMI2, ERMS and INVPCID. All other bits of the leaf came later. */
enum { KEPT = 1 << 0 | 1 << 3 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 };

static void answer_cpuid(int number, siginfo_t *info, void *context)
{
    (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *instruction = (const unsigned char *)registers[REG_RIP];
    if (instruction[0] != 0x0f || instruction[1] != 0x0b) {
        signal(number, SIG_DFL); /* not ours: it is raised again, and ends the process */
        return;
    }
    unsigned leaf = (unsigned)registers[REG_RAX];
    unsigned subleaf = (unsigned)registers[REG_RCX];
    unsigned a, b, c, d;
    __cpuid_count(leaf, subleaf, a, b, c, d);
    if (leaf == EXTENDED_FEATURES) {
        b = subleaf == 0 ? b & KEPT : 0;
        a = c = d = 0;
    }
    registers[REG_RAX] = a;
    registers[REG_RBX] = b;
    registers[REG_RCX] = c;
    registers[REG_RDX] = d;
    registers[REG_RIP] += UD2_BYTES;
}

__attribute__((constructor)) static void begin(void)
{
    struct sigaction action = {.sa_sigaction = answer_cpuid, .sa_flags = SA_SIGINFO};
    sigaction(SIGILL, &action, NULL);
}
