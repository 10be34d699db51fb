/* A stand-in for NVIDIA's libnvidia-ml.so.1, for the real nvidia-ml-py: one device, which is a text file.
 *
 * NVML_STAND_IN names the file. Each line is a word and its values; setting the power limit rewrites the file, so that
 * it outlives a process that crashes, as a real device's does.
 *
 *   devices 1                 how many there are
 *   power_mw 150000           what it draws: the energy counter moves with the machine's monotonic clock
 *   energy_mj 5000            the counter stands still at this instead
 *   limit_mw 300000           limit in force
 *   range_mw 100000 700000    lowest and highest limit
 *   mig 0                     0, 1; without the line the device has no such mode
 *   compute 4711              a process that computes; repeated for several
 *   graphics 4712             a process that draws
 *   error NAME 4              the function NAME returns this error
 *   hang NAME 1               the function NAME does not return as long as this line is there
 *   stubborn 1                a limit is taken and not put in force
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, UNKNOWN = 999 };
enum { LINES = 64, LENGTH = 160 };

typedef struct {
    unsigned int pid;
    unsigned long long used;
    unsigned int gpu_instance;
    unsigned int compute_instance;
} process_info;

static char device;

static int read_lines(char lines[LINES][LENGTH]) {
    const char *path = getenv("NVML_STAND_IN");
    FILE *file = path ? fopen(path, "r") : NULL;
    int count = 0;
    if (!file) return -1;
    while (count < LINES && fgets(lines[count], LENGTH, file)) {
        lines[count][strcspn(lines[count], "\n")] = 0;
        count++;
    }
    fclose(file);
    return count;
}

/* The values after a word; NULL where there is no such line. Skips so many lines of it. */
static const char *find(const char *word, int skip) {
    static _Thread_local char lines[LINES][LENGTH];
    int count = read_lines(lines);
    size_t length = strlen(word);
    for (int index = 0; index < count; index++)
        if (!strncmp(lines[index], word, length) && lines[index][length] == ' ' && skip-- == 0)
            return lines[index] + length + 1;
    return NULL;
}

static int number(const char *word, unsigned long long *value) {
    const char *text = find(word, 0);
    if (!text) return 0;
    *value = strtoull(text, NULL, 10);
    return 1;
}

static int error_of(const char *function) {
    size_t length = strlen(function);
    for (int skip = 0;; skip++) {
        const char *text = find("error", skip);
        if (!text) return SUCCESS;
        if (!strncmp(text, function, length) && text[length] == ' ') return atoi(text + length + 1);
    }
}

static int is_hanging(const char *function) {
    size_t length = strlen(function);
    for (int skip = 0;; skip++) {
        const char *text = find("hang", skip);
        if (!text) return 0;
        if (!strncmp(text, function, length) && text[length] == ' ') return 1;
    }
}

static void hang(const char *function) {
    const struct timespec pause = {0, 5000000};
    while (is_hanging(function)) nanosleep(&pause, NULL);
}

#define BEGIN(function) do { hang(function); int error = error_of(function); if (error) return error; } while (0)

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    if (!getenv("NVML_STAND_IN")) return UNKNOWN;
    BEGIN("nvmlInit");
    return SUCCESS;
}

int nvmlShutdown(void) {
    BEGIN("nvmlShutdown");
    return SUCCESS;
}

const char *nvmlErrorString(int code) {
    (void)code;
    return "an error of the stand-in's";
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    unsigned long long value = 1;
    BEGIN("nvmlDeviceGetCount");
    number("devices", &value);
    *count = (unsigned int)value;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle) {
    unsigned int count = 0;
    BEGIN("nvmlDeviceGetHandleByIndex");
    nvmlDeviceGetCount_v2(&count);
    if (index >= count) return INVALID_ARGUMENT;
    *handle = &device;
    return SUCCESS;
}

static const char *const UUID = "GPU-00000000-1111-2222-3333-444444444444";

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    BEGIN("nvmlDeviceGetHandleByUUID");
    if (strcmp(uuid, UUID)) return NOT_FOUND;
    *handle = &device;
    return SUCCESS;
}

static int put(char *to, unsigned int size, const char *text) {
    if (strlen(text) >= size) return INSUFFICIENT_SIZE;
    strcpy(to, text);
    return SUCCESS;
}

int nvmlDeviceGetIndex(void *handle, unsigned int *index) {
    if (handle != &device) return INVALID_ARGUMENT;
    *index = 0;
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *name, unsigned int size) {
    if (handle != &device) return INVALID_ARGUMENT;
    BEGIN("nvmlDeviceGetName");
    return put(name, size, "Stand-in Graphics 1");
}

int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned int size) {
    if (handle != &device) return INVALID_ARGUMENT;
    BEGIN("nvmlDeviceGetUUID");
    return put(uuid, size, UUID);
}

int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *millijoules) {
    unsigned long long power_mw = 0;
    struct timespec now;
    if (handle != &device) return INVALID_ARGUMENT;
    BEGIN("nvmlDeviceGetTotalEnergyConsumption");
    if (number("energy_mj", millijoules)) return SUCCESS;
    if (!number("power_mw", &power_mw)) return NOT_SUPPORTED;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *millijoules = (unsigned long long)((double)power_mw * ((double)now.tv_sec + (double)now.tv_nsec / 1e9));
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned int *milliwatts) {
    unsigned long long power_mw = 0;
    if (handle != &device) return INVALID_ARGUMENT;
    BEGIN("nvmlDeviceGetPowerUsage");
    if (!number("power_mw", &power_mw)) return NOT_SUPPORTED;
    *milliwatts = (unsigned int)power_mw;
    return SUCCESS;
}

int nvmlDeviceGetPowerManagementLimitConstraints(void *handle, unsigned int *lowest, unsigned int *highest) {
    const char *text = find("range_mw", 0);
    if (handle != &device) return INVALID_ARGUMENT;
    BEGIN("nvmlDeviceGetPowerManagementLimitConstraints");
    if (!text) return NOT_SUPPORTED;
    char *rest;
    *lowest = (unsigned int)strtoul(text, &rest, 10);
    *highest = (unsigned int)strtoul(rest, NULL, 10);
    return SUCCESS;
}

int nvmlDeviceGetPowerManagementLimit(void *handle, unsigned int *limit) {
    unsigned long long value = 0;
    if (handle != &device) return INVALID_ARGUMENT;
    BEGIN("nvmlDeviceGetPowerManagementLimit");
    if (!number("limit_mw", &value)) return NOT_SUPPORTED;
    *limit = (unsigned int)value;
    return SUCCESS;
}

int nvmlDeviceSetPowerManagementLimit(void *handle, unsigned int limit) {
    static char lines[LINES][LENGTH];
    unsigned int lowest = 0, highest = 0;
    if (handle != &device) return INVALID_ARGUMENT;
    BEGIN("nvmlDeviceSetPowerManagementLimit");
    int error = nvmlDeviceGetPowerManagementLimitConstraints(handle, &lowest, &highest);
    if (error) return error;
    if (limit < lowest || limit > highest) return INVALID_ARGUMENT;
    if (find("stubborn", 0)) return SUCCESS;
    int count = read_lines(lines);
    FILE *file = fopen(getenv("NVML_STAND_IN"), "w");
    if (!file) return UNKNOWN;
    for (int index = 0; index < count; index++)
        if (strncmp(lines[index], "limit_mw ", 9)) fprintf(file, "%s\n", lines[index]);
    fprintf(file, "limit_mw %u\n", limit);
    fclose(file);
    return SUCCESS;
}

static int list(const char *word, unsigned int *count, process_info *found) {
    unsigned int there = 0;
    while (find(word, (int)there)) there++;
    unsigned int room = *count;
    *count = there;
    if (there > room) return INSUFFICIENT_SIZE;
    for (unsigned int index = 0; index < there; index++) {
        memset(&found[index], 0, sizeof found[index]);
        found[index].pid = (unsigned int)strtoul(find(word, (int)index), NULL, 10);
    }
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned int *count, process_info *found) {
    if (handle != &device) return INVALID_ARGUMENT;
    BEGIN("nvmlDeviceGetComputeRunningProcesses");
    return list("compute", count, found);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned int *count, process_info *found) {
    if (handle != &device) return INVALID_ARGUMENT;
    BEGIN("nvmlDeviceGetGraphicsRunningProcesses");
    return list("graphics", count, found);
}

int nvmlDeviceGetMigMode(void *handle, unsigned int *current, unsigned int *pending) {
    unsigned long long mode = 0;
    if (handle != &device) return INVALID_ARGUMENT;
    BEGIN("nvmlDeviceGetMigMode");
    if (!number("mig", &mode)) return NOT_SUPPORTED;
    *current = *pending = (unsigned int)mode;
    return SUCCESS;
}
