// posix_spawn with files for both outputs: nothing can block on a full pipe.
#include "tests/cli/spawn.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <thread>

namespace fathom::testing {
namespace {

constexpr auto kLimit = std::chrono::seconds(60);

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> p;
  for (std::string& s : strings) p.push_back(s.data());
  p.push_back(nullptr);
  return p;
}

int64_t size_of(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 ? status.st_size : 0;
}

// Waits for the end; interrupts where asked, kills at the limit.
int await(pid_t pid, const std::string& out, int64_t interrupt_after_bytes) {
  const auto start = std::chrono::steady_clock::now();
  bool interrupted = interrupt_after_bytes < 0;
  for (int status = 0;;) {
    if (waitpid(pid, &status, WNOHANG) == pid) {
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    if (!interrupted && size_of(out) >= interrupt_after_bytes) {
      kill(pid, SIGINT);
      interrupted = true;
    }
    if (std::chrono::steady_clock::now() - start > kLimit) kill(pid, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

}  // namespace

std::string temporary_path(const std::string& name) {
  return ::testing::TempDir() + "fathom_cli_" + std::to_string(getpid()) + "_" + name;
}

std::string temporary_file(const std::string& name, const std::string& content) {
  const std::string path = temporary_path(name);
  std::ofstream(path, std::ios::binary) << content;
  return path;
}

std::string file_content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Ran fathom_command(const std::vector<std::string>& args, const SpawnOptions& options) {
  const std::string in = temporary_file("stdin", options.input);
  const std::string out = temporary_path("stdout"), err = temporary_path("stderr");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, in.c_str(), O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  std::vector<std::string> argv = {FATHOM_BINARY};
  argv.insert(argv.end(), args.begin(), args.end());
  std::vector<std::string> environment = {"TERM=xterm-256color", "HOME=/dev/null"};
  environment.insert(environment.end(), options.environment.begin(), options.environment.end());
  unlink(out.c_str());
  pid_t pid = 0;
  const int failed =
      posix_spawn(&pid, FATHOM_BINARY, &actions, nullptr, pointers(argv).data(), pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  EXPECT_EQ(failed, 0) << FATHOM_BINARY;
  Ran ran;
  const std::string& watched = options.watched.empty() ? out : options.watched;
  if (failed == 0) ran.code = await(pid, watched, options.interrupt_after_bytes);
  ran.out = file_content(out);
  ran.err = file_content(err);
  for (const std::string& path : {in, out, err}) unlink(path.c_str());
  return ran;
}

}  // namespace fathom::testing
