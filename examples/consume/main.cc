// A program outside the project: policy text in, a model opened where one is named, errors by value.
#include <fathom/core/threads.h>
#include <cstdio>

int main() {
  auto pool = fathom::ThreadPool::make(0);
  std::printf("%s\n", pool ? "?" : pool.error().message.c_str());
  return pool ? 1 : 0;
}
